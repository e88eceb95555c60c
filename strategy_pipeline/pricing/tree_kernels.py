"""Compiled binomial trees for American options: one contract after the other, the inner loop over the nodes of a step.

Leisen-Reimer trees (Applied Mathematical Finance 3, 1996) and
Cox-Ross-Rubinstein trees (Journal of Financial Economics 7, 1979) with escrowed discrete dividends: the tree carries
the spot less the present value of the dividends to come, and exercise receives them back. Argument checks, units and
which contract deserves a tree are american.py's business.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="no-untyped-call"
# numba infers the types of these functions from their callers.

import math

import numpy as np

from strategy_pipeline.pricing.compiled import compiled
from strategy_pipeline.pricing.european_kernels import (
    CHARM,
    DELTA,
    GAMMA,
    GREEKS,
    RHO,
    SIGMA_MAX,
    SIGMA_MIN,
    THETA,
    VANNA,
    VEGA,
    VOMMA,
)

LEISEN_REIMER, COX_ROSS_RUBINSTEIN = 0, 1

_DAY = 1.0 / 365.0
_SIGMA_BUMP = 0.02  # of the volatility itself
_RATE_BUMP = 1e-4
# Beyond this many deviations the Leisen-Reimer probabilities are too near 0 or 1 to carry digits.
_LEISEN_REIMER_LIMIT = 6.0
_SOLVER_TOLERANCE = 1e-9


@compiled
def _peizer_pratt(z, steps):
    """Probability whose binomial distribution reproduces the normal one at z (Peizer-Pratt inversion, method 2)."""
    scaled = z / (steps + 1.0 / 3.0 + 0.1 / (steps + 1.0))
    spread = 0.5 * math.sqrt(1.0 - math.exp(-scaled * scaled * (steps + 1.0 / 6.0)))
    return 0.5 + spread if z >= 0.0 else 0.5 - spread


@compiled
def _read_nodes(price, nodes, base, up, down, step, out):
    """Price, delta, gamma and theta per year at the root, from the nodes of the first two steps.

    A parabola through the three nodes two steps on gives gamma, and the value at today's spot whose change is theta.
    """
    first_down, first_up, second_down, second_mid, second_up = nodes
    x_down, x_mid, x_up = base * down * down, base * up * down, base * up * up
    slope_up = (second_up - second_mid) / (x_up - x_mid)
    slope_down = (second_mid - second_down) / (x_mid - x_down)
    gamma = 2.0 * (slope_up - slope_down) / (x_up - x_down)
    away = base - x_mid
    later = second_mid + away * (slope_down + 0.5 * gamma * (x_mid - x_down)) + 0.5 * gamma * away * away
    out[0] = price
    out[1] = (first_up - first_down) / (base * (up - down)) + gamma * (base - 0.5 * base * (up + down))
    out[2] = gamma
    out[3] = (later - price) / (2.0 * step)


@compiled
def _control(base, strike, years, rate, carry, omega, sigma, steps, up, down, up_chance, weight, out):
    """Add to `out` what the same tree gets wrong on the European option (Hull and White's control variate).

    The European nodes are binomial sums, so this costs a few hundred operations beside the tree's twenty thousand.
    Leaves the exact European price and vega (per 1.00) behind the four numbers it corrects. `weight` is scratch.
    """
    count = steps - 2
    weight[0] = (1.0 - up_chance) ** count
    odds = up_chance / (1.0 - up_chance)
    for j in range(count):
        weight[j + 1] = weight[j] * odds * (count - j) / (j + 1.0)
    step = years / steps
    discount = math.exp(-rate * step)
    remote = math.exp(-rate * step * count)
    low = math.log(down)
    width = math.log(up) - low
    bottom = math.log(base) + steps * low
    second_down = second_mid = second_up = 0.0
    payoff_a = max(omega * (math.exp(bottom) - strike), 0.0)
    payoff_b = max(omega * (math.exp(bottom + width) - strike), 0.0)
    for j in range(count + 1):
        payoff_c = max(omega * (math.exp(bottom + (j + 2) * width) - strike), 0.0)
        second_down += weight[j] * payoff_a
        second_mid += weight[j] * payoff_b
        second_up += weight[j] * payoff_c
        payoff_a, payoff_b = payoff_b, payoff_c
    second_down, second_mid, second_up = remote * second_down, remote * second_mid, remote * second_up
    rise, fall = discount * up_chance, discount * (1.0 - up_chance)
    first_down = rise * second_mid + fall * second_down
    first_up = rise * second_up + fall * second_mid
    price = rise * first_up + fall * first_down
    tree = np.empty(6)
    _read_nodes(price, (first_down, first_up, second_down, second_mid, second_up), base, up, down, step, tree)
    root_t = math.sqrt(years)
    d1 = (math.log(base / strike) + (rate - carry) * years) / (sigma * root_t) + 0.5 * sigma * root_t
    d2 = d1 - sigma * root_t
    spot_leg = omega * math.exp(-carry * years) * 0.5 * math.erfc(-omega * d1 * math.sqrt(0.5))
    strike_leg = omega * strike * math.exp(-rate * years) * 0.5 * math.erfc(-omega * d2 * math.sqrt(0.5))
    bell = math.exp(-carry * years - 0.5 * d1 * d1) / math.sqrt(2.0 * math.pi)
    exact = base * spot_leg - strike_leg
    out[0] += exact - tree[0]
    out[1] += spot_leg - tree[1]
    out[2] += bell / (base * sigma * root_t) - tree[2]
    decay = -0.5 * base * bell * sigma / root_t - rate * strike_leg + carry * base * spot_leg
    out[3] += decay - tree[3]
    out[4] = exact
    out[5] = base * bell * root_t


@compiled
def roll_back(base, strike, step, rate, omega, steps, up, down, up_chance, american, v, x, pv):
    """Value at the root of a tree with these moves and this chance of the upper one, and the nodes `_read_nodes` takes.

    `pv` is what exercise at each step receives on top of the tree's spot; `v` and `x` are scratch.
    """
    discount = math.exp(-rate * step)
    rise, fall = discount * up_chance, discount * (1.0 - up_chance)
    low = math.log(down)
    width = math.log(up) - low
    for j in range(steps + 1):
        x[j] = base * math.exp(steps * low + j * width)
        payoff = omega * (x[j] - strike)
        v[j] = payoff if payoff > 0.0 else 0.0
    back = 1.0 / down
    second_up = second_mid = second_down = first_up = first_down = 0.0
    for i in range(steps - 1, -1, -1):
        if american:
            hurdle = strike - pv[i]
            for j in range(i + 1):
                node = x[j] * back
                held = rise * v[j + 1] + fall * v[j]
                exercised = omega * (node - hurdle)
                x[j] = node
                v[j] = held if held > exercised else exercised
        else:
            for j in range(i + 1):
                v[j] = rise * v[j + 1] + fall * v[j]
        if i == 2:
            second_down, second_mid, second_up = v[0], v[1], v[2]
        elif i == 1:
            first_down, first_up = v[0], v[1]
    return v[0], (first_down, first_up, second_down, second_mid, second_up)


@compiled
def _tree(
    spot,
    strike,
    years,
    rate,
    carry,
    omega,
    sigma,
    when,
    amount,
    first,
    last,
    shift,
    steps,
    method,
    american,
    v,
    x,
    pv,
    out,
):
    """Fill `out` with price, delta, gamma, theta per year of one option; dividends are `when[first:last]`, less
    `shift`.

    `v`, `x` and `pv` are scratch of at least steps + 1 elements.
    """
    step = years / steps
    escrow = 0.0
    for i in range(steps + 1):
        pv[i] = 0.0
    for k in range(first, last):
        moment = when[k] - shift
        if 0.0 < moment < years:
            escrow += amount[k] * math.exp(-rate * moment)
            for i in range(steps + 1):
                if i * step < moment:
                    pv[i] += amount[k] * math.exp(-rate * (moment - i * step))
    base = spot - escrow
    growth = math.exp((rate - carry) * step)
    root = sigma * math.sqrt(years)
    if base > 0.0:
        d1 = (math.log(base / strike) + (rate - carry) * years) / root + 0.5 * root
    else:
        d1 = 0.0
        base = 1e-8 * spot
    d2 = d1 - root
    if method == LEISEN_REIMER and abs(d1) < _LEISEN_REIMER_LIMIT and abs(d2) < _LEISEN_REIMER_LIMIT:
        up_chance = _peizer_pratt(d2, steps)
        up = growth * _peizer_pratt(d1, steps) / up_chance
        down = (growth - up_chance * up) / (1.0 - up_chance)
    else:
        up = math.exp(sigma * math.sqrt(step))
        down = 1.0 / up
        up_chance = (growth - down) / (up - down)
        up_chance = min(max(up_chance, 0.0), 1.0)
    price, nodes = roll_back(base, strike, step, rate, omega, steps, up, down, up_chance, american, v, x, pv)
    _read_nodes(price, nodes, base, up, down, step, out)
    out[4] = -np.inf
    out[5] = 0.0
    if american and method == LEISEN_REIMER and price > omega * (spot - strike) and 0.05 < up_chance < 0.95:
        _control(base, strike, years, rate, carry, omega, sigma, steps, up, down, up_chance, pv, out)


@compiled
def _refined(
    spot,
    strike,
    years,
    rate,
    carry,
    omega,
    sigma,
    when,
    amount,
    first,
    last,
    shift,
    steps,
    method,
    american,
    v,
    x,
    pv,
    coarse,
    out,
):
    """Fill `out` like `_tree`; an American Leisen-Reimer price is freed of most of what exercise at steps only costs.

    That loss falls like 1 / steps (Leisen and Reimer, section 4), so a tree of a third of the steps, at a ninth of the
    cost, tells its size. An option that is exercised now is worth its intrinsic value, and has no such loss.
    """
    fewer = steps // 3
    sizes = (steps, fewer)
    for turn in range(2):
        if turn == 1:
            coarse[:] = out
        # One place for both sizes: the compiler copies the whole tree to every place that asks for one.
        _tree(
            spot,
            strike,
            years,
            rate,
            carry,
            omega,
            sigma,
            when,
            amount,
            first,
            last,
            shift,
            sizes[turn],
            method,
            american,
            v,
            x,
            pv,
            out,
        )
        if turn == 0 and (not american or method != LEISEN_REIMER or fewer < 5 or not np.isfinite(out[4])):
            return
    less_exact = out[0]
    out[:] = coarse
    out[0] += (out[0] - less_exact) * fewer / (steps - fewer)
    out[0] = max(out[0], out[4], omega * (spot - strike))


@compiled
def prices(
    spot, strike, years, rate, carry, omega, sigma, offsets, when, amount, steps, method, american, out, start, stop
):
    """Fill `out` with the prices of the options from `start` to `stop`."""
    v, x, pv = np.empty(steps + 1), np.empty(steps + 1), np.empty(steps + 1)
    result, coarse = np.empty(6), np.empty(6)
    for i in range(start, stop):
        _refined(
            spot[i],
            strike[i],
            years[i],
            rate[i],
            carry[i],
            omega[i],
            sigma[i],
            when,
            amount,
            offsets[i],
            offsets[i + 1],
            0.0,
            steps,
            method,
            american,
            v,
            x,
            pv,
            coarse,
            result,
        )
        out[i] = result[0]


@compiled
def prices_and_greeks(spot, strike, years, rate, carry, omega, sigma, offsets, when, amount, steps, out, start, stop):
    """Fill `out` (Greek by option, the price in the row after the Greeks) from Leisen-Reimer trees.

    Delta, gamma and theta come from the nodes; vega, rho, vanna, charm and vomma from symmetric bumps.
    """
    v, x, pv = np.empty(steps + 1), np.empty(steps + 1), np.empty(steps + 1)
    coarse, found = np.empty(6), np.empty((7, 6))
    middle, more_sigma, less_sigma, more_rate, less_rate, less_time, more_time = found
    for i in range(start, stop):
        bump = _SIGMA_BUMP * sigma[i]
        shift = min(_DAY, 0.02 * years[i])
        for turn in range(7):
            d_sigma = bump if turn == 1 else (-bump if turn == 2 else 0.0)
            d_rate = _RATE_BUMP if turn == 3 else (-_RATE_BUMP if turn == 4 else 0.0)
            d_time = -shift if turn == 5 else (shift if turn == 6 else 0.0)
            _refined(
                spot[i],
                strike[i],
                years[i] + d_time,
                rate[i] + d_rate,
                carry[i],
                omega[i],
                sigma[i] + d_sigma,
                when,
                amount,
                offsets[i],
                offsets[i + 1],
                -d_time,
                steps,
                LEISEN_REIMER,
                True,
                v,
                x,
                pv,
                coarse,
                found[turn],
            )
        out[GREEKS, i] = middle[0]
        out[DELTA, i] = middle[1]
        out[GAMMA, i] = middle[2]
        out[THETA, i] = middle[3] * _DAY
        # Only the premium for early exercise needs the bump where the rest has a closed form.
        if np.isfinite(middle[4]) and np.isfinite(more_sigma[4]) and np.isfinite(less_sigma[4]):
            premium = (more_sigma[0] - more_sigma[4]) - (less_sigma[0] - less_sigma[4])
            out[VEGA, i] = (middle[5] + premium / (2.0 * bump)) * 0.01
        else:
            out[VEGA, i] = (more_sigma[0] - less_sigma[0]) / (2.0 * bump) * 0.01
        out[VANNA, i] = (more_sigma[1] - less_sigma[1]) / (2.0 * bump) * 0.01
        out[VOMMA, i] = (more_sigma[0] - 2.0 * middle[0] + less_sigma[0]) / (bump * bump)
        out[RHO, i] = (more_rate[0] - less_rate[0]) / (2.0 * _RATE_BUMP) * 0.01
        out[CHARM, i] = (less_time[1] - more_time[1]) / (2.0 * shift) * _DAY


@compiled
def implied_volatilities(
    spot, strike, years, rate, carry, omega, price, guess, offsets, when, amount, steps, out, start, stop
):
    """Fill `out` with the volatility at which the Leisen-Reimer tree returns the price, NaN where there is none.

    Rows whose guess is not a number are left NaN. Secant steps inside a bracket that only ever shrinks.
    """
    v, x, pv = np.empty(steps + 1), np.empty(steps + 1), np.empty(steps + 1)
    result, coarse = np.empty(6), np.empty(6)
    for i in range(start, stop):
        out[i] = np.nan
        sigma = guess[i]
        if not (sigma > 0.0):
            continue
        s, k, t, r, q, w = spot[i], strike[i], years[i], rate[i], carry[i], omega[i]
        first, last = offsets[i], offsets[i + 1]
        sigma = min(max(sigma, SIGMA_MIN), SIGMA_MAX)
        low, high = SIGMA_MIN, SIGMA_MAX
        bell = math.exp(
            -0.5 * ((math.log(s / k) + (r - q) * t) / (sigma * math.sqrt(t)) + 0.5 * sigma * math.sqrt(t)) ** 2
        )
        vega = max(s * math.sqrt(t) * bell * 0.4 * math.exp(-q * t), 1e-4 * s * math.sqrt(t))
        previous_sigma, previous_left = 0.0, 0.0
        for turn in range(100):
            _refined(
                s,
                k,
                t,
                r,
                q,
                w,
                sigma,
                when,
                amount,
                first,
                last,
                0.0,
                steps,
                LEISEN_REIMER,
                True,
                v,
                x,
                pv,
                coarse,
                result,
            )
            left = result[0] - price[i]
            if left > 0.0:
                high = sigma
            else:
                low = sigma
            if turn > 0 and sigma != previous_sigma and left != previous_left:
                vega = (left - previous_left) / (sigma - previous_sigma)
            move = -left / vega if vega > 0.0 else 0.0
            if abs(left) <= 1e-13 * s or (vega > 0.0 and abs(move) <= _SOLVER_TOLERANCE):
                out[i] = sigma + move if vega > 0.0 else sigma
                break
            if high - low <= _SOLVER_TOLERANCE:
                # A bracket that closed on an end of the allowed range holds no solution.
                out[i] = sigma if low > SIGMA_MIN and high < SIGMA_MAX else np.nan
                break
            previous_sigma, previous_left = sigma, left
            target = sigma + move
            # Away from the solution no step may more than halve or double the volatility.
            target = min(max(target, 0.5 * sigma), 2.0 * sigma)
            if vega <= 0.0:
                target = 2.0 * sigma if left < 0.0 else 0.5 * sigma
            sigma = target if low < target < high else 0.5 * (low + high)
