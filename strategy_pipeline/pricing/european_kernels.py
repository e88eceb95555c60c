"""Compiled loops for European options: price and Greeks from volatility, and volatility and Greeks from price.

Each kernel works through blocks of `BLOCK` rows held in one scratch array, one branch-free loop after the other,
because that is the shape LLVM turns into vector instructions: constant offsets into one array need no overlap checks,
and elementary_kernels replaces the library calls. Validity comes first: rows that cannot be solved are replaced by a
harmless option, carried along, and blanked when the block is stored. Argument checks and units are black_scholes.py's
and implied_volatility.py's business.

Notation: with M = sqrt(S Q K D), x = ln(S Q / K D), s = sigma sqrt(T), h = -|x|/s and t = s/2, an out-of-the-money
option is worth M b(s), where, as h t = -|x|/2,
    b = exp(-(h^2 + t^2)/2) / 2 * (erfcx(-(h+t)/sqrt 2) - erfcx((t-h)/sqrt 2))          for h + t < 0
    exp(-|x|/2) - b = the same with the sum of erfcx(|h+t|/sqrt 2) and the second term    for h + t >= 0
so that erfcx is only ever asked for non-negative arguments and no digit is lost in either tail.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="no-untyped-call"
# numba infers the types of these functions from their callers.

import math

import numpy as np

from strategy_pipeline.pricing.compiled import compiled
from strategy_pipeline.pricing.elementary_kernels import erfcx, exp, log

BLOCK = 512
# Eight doubles more than a block, so that the rows of the scratch array do not all fall on the same cache sets.
_ROW = BLOCK + 8

# Codes shared with implied_volatility.py; the order is the order of precedence.
MISSING, EXPIRED, BELOW_INTRINSIC, ABOVE_UPPER, AT_INTRINSIC, LOW_VEGA, NO_CONVERGENCE, OK = range(8)

SIGMA_MIN, SIGMA_MAX = 1e-4, 10.0
# A time value below this share of the spot does not identify a volatility.
TIME_VALUE_FLOOR = 1e-6
LOW_VEGA_TICKS = 0.05
# The residual of the last step, in volatility, or as a share of the price's bound where vega is too small to say.
SIGMA_TOLERANCE = 1e-10
PRICE_NOISE = 2e-15

DELTA, GAMMA, VEGA, THETA, RHO, VANNA, CHARM, VOMMA = range(8)
GREEKS = 8

_ROOT_HALF = math.sqrt(0.5)
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)
_HUGE = 1e300
# Below this total volatility the option is priced at its limit.
_DEGENERATE_S = 1e-9

# Rows of the scratch array, as offsets of their first element.
_S, _K, _T, _R, _C, _P, _W, _TICK = (row * _ROW for row in range(8))
_STATUS, _D, _Q, _SQ, _KD, _ROOT_T, _X, _AX, _M, _BETA, _BMAX, _IB, _IU, _TOTAL = (row * _ROW for row in range(8, 22))
_DS, _NEAR, _FAR, _BELL, _SIGMA = (row * _ROW for row in range(22, 27))
_OUT = 27 * _ROW
SCRATCH = (27 + 1 + GREEKS) * _ROW


@compiled
def _load(w, offset, source, start, stop):
    for i in range(stop - start):
        w[offset + i] = source[start + i]


@compiled
def _discount(w):
    for i in range(BLOCK):
        discount = exp(-w[_R + i] * w[_T + i])
        carried = exp(-w[_C + i] * w[_T + i])
        w[_D + i] = discount
        w[_Q + i] = carried
        w[_SQ + i] = w[_S + i] * carried
        w[_KD + i] = w[_K + i] * discount


@compiled
def _moneyness(w):
    for i in range(BLOCK):
        sq, kd = w[_SQ + i], w[_KD + i]
        x = log(sq / kd)
        w[_X + i] = x
        w[_AX + i] = abs(x)
        middle = math.sqrt(sq * kd)
        w[_M + i] = middle
        smaller = sq if sq < kd else kd
        w[_BMAX + i] = smaller / middle
        w[_ROOT_T + i] = math.sqrt(w[_T + i])


@compiled
def _judge(w):
    """Status of each row from its bounds, and a harmless option in place of what cannot be solved."""
    for i in range(BLOCK):
        spot, strike, years, price, omega = w[_S + i], w[_K + i], w[_T + i], w[_P + i], w[_W + i]
        sq, kd = w[_SQ + i], w[_KD + i]
        forward_value = omega * (sq - kd)
        lower = forward_value if forward_value > 0.0 else 0.0
        upper = sq if omega > 0.0 else kd
        half_tick = 0.5 * w[_TICK + i]
        time_value = price - lower
        floor = TIME_VALUE_FLOOR * spot
        floor = half_tick if half_tick > floor else floor
        status = float(OK)
        status = float(AT_INTRINSIC) if time_value < floor else status
        status = float(ABOVE_UPPER) if price > upper else status
        status = float(BELOW_INTRINSIC) if price < lower - half_tick else status
        status = float(EXPIRED) if years <= 0.0 else status
        # Comparisons with NaN are false: only a row all of whose numbers are usable passes.
        total = abs(spot) + abs(strike) + abs(years) + abs(price) + abs(w[_R + i]) + abs(w[_C + i])
        total = total + abs(sq) + abs(kd) + half_tick
        usable = (spot > 0.0) & (strike > 0.0) & (total < _HUGE) & (half_tick >= 0.0) & (abs(omega) == 1.0)
        status = status if usable else float(MISSING)
        w[_STATUS + i] = status
        solve = status == float(OK)
        w[_BETA + i] = time_value if solve else 0.1
        w[_SQ + i] = sq if solve else 1.0
        w[_KD + i] = kd if solve else 1.0
        w[_T + i] = years if solve else 1.0


@compiled
def _guess(w):
    """Total volatility to 3e-4 (s < 0.6) or a few per cent (s < 4).

    The normal-model volatility of the straddle 2 b + 2 sinh(|x|/2) as a function of eta = v / artanh(v), after
    Choi, Kim and Kwak, Applied Mathematical Finance 16 (2009) with coefficients of our own; then sigma_normal =
    sigma (1 - s^2/24).
    """
    for i in range(BLOCK):
        ax = w[_AX + i]
        beta = w[_BETA + i] / w[_M + i]
        w[_BETA + i] = beta
        w[_IB + i] = 0.5 / beta
        w[_IU + i] = 0.5 / (w[_BMAX + i] - beta)
        z = 0.25 * ax * ax
        ratio = 1.0 / 6227020800.0
        ratio = ratio * z + 1.0 / 39916800.0
        ratio = ratio * z + 1.0 / 362880.0
        ratio = ratio * z + 1.0 / 5040.0
        ratio = ratio * z + 1.0 / 120.0
        ratio = ratio * z + 1.0 / 6.0
        ratio = ratio * z + 1.0
        intrinsic = ax * ratio
        straddle = 2.0 * beta + intrinsic
        v = intrinsic / straddle
        v = 1e-5 if v < 1e-5 else v
        eta = 2.0 * v / log((1.0 + v) / (1.0 - v))
        p = -0.20249535847926098
        p = p * eta + 0.6743036932781926
        p = p * eta - 0.7929933542908021
        p = p * eta + 0.1967168586118435
        p = p * eta + 0.8680249701338243
        p = p * eta + 0.5097257805138794
        s = straddle * math.sqrt(eta) * p / ratio
        room = 1.0 - s * s * (1.0 / 6.0)
        room = 0.02 if room < 0.02 else room
        w[_TOTAL + i] = 2.0 * s / (1.0 + math.sqrt(room))


@compiled
def _improve(w):
    """One third-order Householder step on the logarithm of b, or of its distance to the bound above the inflection."""
    for i in range(BLOCK):
        # Both are loaded before the choice: a load inside a branch would keep the loop scalar.
        below, above = w[_IB + i], w[_IU + i]
        s = w[_TOTAL + i]
        inverse = 1.0 / s
        h = -w[_AX + i] * inverse
        t = 0.5 * s
        inner = h + t
        inside = inner < 0.0
        near = erfcx(abs(inner) * _ROOT_HALF)
        far = erfcx((t - h) * _ROOT_HALF)
        combined = near - far if inside else near + far
        target = below if inside else above
        g = log(combined * target) - 0.5 * (h * h + t * t)
        # f / f' for f = b or f = bound - b, whose derivative is +-exp(-(h^2+t^2)/2) / sqrt(2 pi).
        reach = (0.5 * _ROOT_TWO_PI) * combined
        reach = reach if inside else -reach
        slope = 1.0 / reach
        hh = h * h * inverse
        curvature = hh - 0.5 * t
        turn = curvature * curvature - 3.0 * hh * inverse - 0.25
        step = -g * reach
        second = curvature - slope
        third = turn - 3.0 * slope * curvature + 2.0 * slope * slope
        s_new = s + step * (1.0 + 0.5 * second * step) / (1.0 + step * (second + step * third * (1.0 / 6.0)))
        smallest = 0.1 * s
        w[_TOTAL + i] = s_new if s_new > smallest else smallest


@compiled
def _evaluate(w):
    """The two probabilities, the bell and the price of the out-of-the-money option at the total volatility."""
    for i in range(BLOCK):
        s = w[_TOTAL + i]
        h = -w[_AX + i] / s
        t = 0.5 * s
        inner = h + t
        near = erfcx(abs(inner) * _ROOT_HALF)
        far = erfcx((t - h) * _ROOT_HALF)
        half_bell = 0.5 * exp(-0.5 * (h * h + t * t))
        bound = w[_BMAX + i]
        tail = half_bell * near / bound
        w[_NEAR + i] = tail if inner < 0.0 else 1.0 - tail
        w[_FAR + i] = half_bell * far * bound
        w[_BELL + i] = half_bell * (2.0 / _ROOT_TWO_PI)


@compiled
def _residual(w):
    """What a last Newton step would still move, and whether it is more than the tolerances allow; counts such rows."""
    failures = 0
    for i in range(BLOCK):
        price = w[_BMAX + i] * w[_NEAR + i] - w[_FAR + i] / w[_BMAX + i]
        bell = w[_BELL + i]
        # b itself is bound * P(near) with near = Phi(h + t) up to the factor that both discounted legs share.
        left = price - w[_BETA + i]
        tolerance = SIGMA_TOLERANCE * w[_ROOT_T + i] * bell
        noise = PRICE_NOISE * w[_BMAX + i]
        tolerance = noise if tolerance < noise else tolerance
        good = abs(left) <= tolerance
        w[_DS + i] = 0.0 if good else 1.0
        failures += 0 if good else 1
    return failures


@compiled
def _otm_price(ax, bound, s):
    """Normalised price of the out-of-the-money option, for one row."""
    h, t = -ax / s, 0.5 * s
    half_bell = 0.5 * exp(-0.5 * (h * h + t * t))
    near, far = erfcx(abs(h + t) * _ROOT_HALF), erfcx((t - h) * _ROOT_HALF)
    return half_bell * (near - far) if h + t < 0.0 else bound - half_bell * (near + far)


@compiled
def _rescue(w):
    """Newton inside a bracket, for the rows the fixed steps left unsolved; a row that fails again is marked."""
    for i in range(BLOCK):
        if w[_DS + i] == 0.0:
            continue
        ax, bound, beta, root = w[_AX + i], w[_BMAX + i], w[_BETA + i], w[_ROOT_T + i]
        low, high = SIGMA_MIN * root, SIGMA_MAX * root
        solved = _otm_price(ax, bound, low) <= beta and beta <= _otm_price(ax, bound, high) and beta < bound
        s = w[_TOTAL + i]
        if not (low < s < high):
            s = math.sqrt(low * high)
        if solved:
            solved = False
            for _ in range(200):
                left = _otm_price(ax, bound, s) - beta
                if left > 0.0:
                    high = s
                else:
                    low = s
                h, t = -ax / s, 0.5 * s
                bell = exp(-0.5 * (h * h + t * t)) / _ROOT_TWO_PI
                tolerance = max(SIGMA_TOLERANCE * root * bell, PRICE_NOISE * bound)
                if abs(left) <= tolerance or high - low <= SIGMA_TOLERANCE * root:
                    solved = True
                    break
                s_new = s - left / bell if bell > 0.0 else low
                s = s_new if low < s_new < high else 0.5 * (low + high)
        w[_TOTAL + i] = s
        w[_DS + i] = 0.0 if solved else 1.0


@compiled
def _sensitivities(w):
    """Greeks in the units of the columns, from what `_evaluate` left."""
    for i in range(BLOCK):
        s, root, x = w[_TOTAL + i], w[_ROOT_T + i], w[_X + i]
        spot, years, rate, carry, omega = w[_S + i], w[_T + i], w[_R + i], w[_C + i], w[_W + i]
        kd, carried, bell = w[_KD + i], w[_Q + i], w[_BELL + i]
        inverse = 1.0 / s
        inverse_root = 1.0 / root
        inverse_spot = 1.0 / spot
        sigma = s * inverse_root
        inverse_sigma = root * inverse
        d1 = x * inverse + 0.5 * s
        d2 = d1 - s
        near, far = w[_NEAR + i], w[_FAR + i]
        # near is Phi(omega d) of the leg that grows, far of the other; in the money they are complements, swapped.
        call = omega > 0.0
        outside = x * omega <= 0.0
        first = near if outside else 1.0 - far
        second = far if outside else 1.0 - near
        spot_leg = first if call else second
        strike_leg = second if call else first
        money_bell = w[_M + i] * bell
        slope = money_bell * inverse_spot
        vega = money_bell * root
        unit_delta = omega * carried * spot_leg
        asset = spot * unit_delta
        bond = omega * kd * strike_leg
        decay = 0.5 * money_bell * sigma * inverse_root
        drift = (2.0 * (rate - carry) - d2 * sigma * inverse_root) * (0.5 * inverse)
        w[_SIGMA + i] = sigma
        w[_OUT + DELTA * _ROW + i] = unit_delta
        w[_OUT + GAMMA * _ROW + i] = slope * inverse * inverse_spot
        w[_OUT + VEGA * _ROW + i] = 0.01 * vega
        w[_OUT + THETA * _ROW + i] = (carry * asset - rate * bond - decay) * (1.0 / 365.0)
        w[_OUT + RHO * _ROW + i] = 0.01 * years * bond
        w[_OUT + VANNA * _ROW + i] = -0.01 * slope * d2 * inverse_sigma
        w[_OUT + CHARM * _ROW + i] = (carry * unit_delta - slope * drift) * (1.0 / 365.0)
        w[_OUT + VOMMA * _ROW + i] = vega * d1 * d2 * inverse_sigma
        w[_OUT + GREEKS * _ROW + i] = asset - bond


@compiled
def implied_volatilities(spot, strike, years, rate, carry, omega, price, tick, sigma, status, greeks, start, stop):
    """Fill `sigma`, `status` and, when it has rows, `greeks` (Greek by option) for the options from `start` to
    `stop`."""
    w = np.ones(SCRATCH)
    with_greeks = greeks.shape[0] > 0
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        _load(w, _S, spot, first, last)
        _load(w, _K, strike, first, last)
        _load(w, _T, years, first, last)
        _load(w, _R, rate, first, last)
        _load(w, _C, carry, first, last)
        _load(w, _P, price, first, last)
        _load(w, _W, omega, first, last)
        _load(w, _TICK, tick, first, last)
        _discount(w)
        _judge(w)
        _moneyness(w)
        _guess(w)
        _improve(w)
        _improve(w)
        _evaluate(w)
        if _residual(w) > 0:
            _rescue(w)
            _evaluate(w)
        _sensitivities(w)
        for i in range(BLOCK):
            state = w[_STATUS + i]
            vega, volatility = w[_OUT + VEGA * _ROW + i], w[_SIGMA + i]
            solved = (w[_DS + i] == 0.0) & (volatility >= SIGMA_MIN) & (volatility <= SIGMA_MAX)
            found = float(OK) if vega >= LOW_VEGA_TICKS * w[_TICK + i] else float(LOW_VEGA)
            found = found if solved else float(NO_CONVERGENCE)
            state = found if state == float(OK) else state
            w[_STATUS + i] = state
            w[_DS + i] = 0.0 if (state == float(OK)) | (state == float(LOW_VEGA)) else np.nan
        for i in range(last - first):
            status[first + i] = int(w[_STATUS + i])
        for i in range(last - first):
            sigma[first + i] = w[_SIGMA + i] + w[_DS + i]
        if with_greeks:
            for greek in range(GREEKS):
                offset = _OUT + greek * _ROW
                for i in range(last - first):
                    greeks[greek, first + i] = w[offset + i] + w[_DS + i]


@compiled
def prices_and_greeks(spot, strike, years, rate, carry, omega, volatility, out, degenerate, start, stop):
    """Fill `out` (Greek by option, the price in the row after the Greeks) and the flags of degenerate options."""
    w = np.ones(SCRATCH)
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        _load(w, _S, spot, first, last)
        _load(w, _K, strike, first, last)
        _load(w, _T, years, first, last)
        _load(w, _R, rate, first, last)
        _load(w, _C, carry, first, last)
        _load(w, _W, omega, first, last)
        _load(w, _P, volatility, first, last)
        _discount(w)
        _moneyness(w)
        for i in range(BLOCK):
            s = w[_P + i] * w[_ROOT_T + i]
            limit = s < _DEGENERATE_S
            w[_STATUS + i] = 1.0 if limit else 0.0
            w[_TOTAL + i] = 1.0 if limit else s
            w[_ROOT_T + i] = 1.0 if limit else w[_ROOT_T + i]
            w[_T + i] = 1.0 if limit else w[_T + i]
        _evaluate(w)
        _sensitivities(w)
        for i in range(BLOCK):
            # Near the bounds asset - bond loses the digits that the out-of-the-money price has: b from its own form.
            sq, kd = w[_SQ + i], w[_KD + i]
            value = w[_M + i] * (w[_BMAX + i] * w[_NEAR + i] - w[_FAR + i] / w[_BMAX + i])
            intrinsic = w[_W + i] * (sq - kd)
            value = value if value > 0.0 else 0.0
            w[_OUT + GREEKS * _ROW + i] = value + (intrinsic if intrinsic > 0.0 else 0.0)
        for i in range(last - first):
            degenerate[first + i] = w[_STATUS + i] > 0.0
        for row in range(GREEKS + 1):
            offset = _OUT + row * _ROW
            for i in range(last - first):
                out[row, first + i] = w[offset + i]
        for i in range(last - first):
            if w[_STATUS + i] > 0.0:
                _limit(
                    first + i,
                    w[_SQ + i],
                    w[_KD + i],
                    w[_Q + i],
                    w[_W + i],
                    years[first + i],
                    rate[first + i],
                    carry[first + i],
                    out,
                )


@compiled
def _limit(row, sq, kd, carried, omega, years, rate, carry, out):
    """An option without volatility or time is its discounted forward intrinsic value."""
    forward_value = omega * (sq - kd)
    share = 1.0 if forward_value > 0.0 else (0.5 if forward_value == 0.0 else 0.0)
    for greek in range(GREEKS):
        out[greek, row] = 0.0
    out[DELTA, row] = share * omega * carried
    out[THETA, row] = share * omega * (carry * sq - rate * kd) / 365.0
    out[RHO, row] = share * omega * years * kd / 100.0
    out[CHARM, row] = share * omega * carry * carried / 365.0
    out[GREEKS, row] = max(forward_value, 0.0)
