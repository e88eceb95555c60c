/*
description: >
  How rich a symbol's volatility is against its own 252 sessions before: rank, percentile, band, trend, premium. The
  session itself is not in its window; only values with the status ok are; more than five sessions in a row without one
  make a history insufficient.
group: volatility
partitioning: {by: session, look_back_sessions: 252}
columns:
  symbol: {doc: "Canonical underlying", tests: [not_null]}
  session: {doc: "Exchange date (XNYS)", tests: [not_null]}
  cm30_atm_iv:
    doc: "At-the-money-forward volatility at 30 days, decimal per root year"
    tests: [{between: [0.0001, 10]}]
  cm30_iv_call: {doc: "The same from calls alone, decimal per root year"}
  cm30_iv_put: {doc: "The same from puts alone, decimal per root year"}
  cm30_status: {doc: "Two expiries, one, two that fall in total variance, or none"}
  cm90_atm_iv: {doc: "At-the-money-forward volatility at 90 days, decimal per root year"}
  term_slope_90_30: {doc: "cm90_atm_iv less cm30_atm_iv, decimal"}
  iv_252d_high: {doc: "Highest cm30_atm_iv of the 252 sessions before, decimal"}
  iv_252d_low: {doc: "Lowest of them, decimal"}
  iv_252d_mean: {doc: "Their mean, decimal"}
  iv_252d_median: {doc: "Their median, decimal"}
  iv_252d_stddev: {doc: "Their population standard deviation, decimal"}
  iv_rank_pct: {doc: "Place between lowest and highest, 0-100", tests: [{between: [0, 100]}]}
  iv_percentile_pct: {doc: "Share of the window below, ties counted half, 0-100", tests: [{between: [0, 100]}]}
  rank_clipped: {doc: "The value lies outside the window's range"}
  iv_zscore: {doc: "Distance from the mean in standard deviations"}
  iv_regime: {doc: "Band of iv_percentile_pct"}
  iv_trend: {doc: "Change against 20 sessions earlier beyond 10 %"}
  iv_change_5d_pct: {doc: "Change against 5 sessions earlier, %"}
  iv_change_20d_pct: {doc: "Change against 20 sessions earlier, %"}
  rr25: {doc: "Volatility of the 25-delta put less that of the 25-delta call at 30 days, decimal"}
  fly25: {doc: "Their mean less cm30_atm_iv, decimal"}
  skew_slope: {doc: "Rise of volatility per 10 delta towards lower strikes at 30 days, decimal"}
  skew_percentile_pct: {doc: "Percentile of rr25 in the 252 sessions before, 0-100", tests: [{between: [0, 100]}]}
  rv21: {doc: "Realised volatility of the 21 sessions that end here, decimal per root year"}
  rv_estimator: {doc: "Estimator of rv21"}
  vrp_var: {doc: "cm30_atm_iv squared less rv21 squared, variance per year"}
  n_history: {doc: "Sessions of the window with the status ok", tests: [not_null, {between: [0, 252]}]}
  history_status:
    doc: "202 sessions or more, 126 or more, or too few"
    tests: [{accepted_values: [ok, short_history, insufficient]}]
  earnings_in_window: {doc: "Earnings within 30 days; null without a calendar"}
  source: {doc: "derived, or synthetic when every input is"}
  quality: {doc: "Quality of the session's own row"}
  quality_flags: {doc: "What is odd about the row"}
  available_at: {doc: "First moment everything in the row could be known", tests: [not_null]}
  ingested_at: {doc: "Newest publication among the vendor's objects the row was made from"}
  revision: {doc: "0 for the first version of the row"}
  definition_version: {doc: "Method that produced the row"}
tests:
  - unique: [symbol, session]
*/
{#- Whole millionths, so that equal means equal to six decimals and sums do not depend on the order of rows. -#}
{%- macro millionths(value) -%} CAST(round_even({{ value }} * 1e6, 0) AS BIGINT) {%- endmacro -%}

{#- For each row asked for, what the window of 252 sessions before it holds of `value` where `status` is ok. -#}
{%- macro year_before(value, status) %}
    SELECT
        asked.symbol,
        asked.session,
        count(known.{{ value }}) AS n,
        CASE
            WHEN count(known.{{ value }}) < 126
                OR max(least(coalesce(known.next_number, asked.session_number), asked.session_number)
                    - known.session_number - 1) > 5 THEN 'insufficient'
            WHEN count(known.{{ value }}) < 202 THEN 'short_history'
            ELSE 'ok'
        END AS history_status,
        max(known.{{ value }}) AS high,
        min(known.{{ value }}) AS low,
        sum(known.{{ value }}) AS total,
        sum(known.{{ value }} * known.{{ value }}) AS total_of_squares,
        median(known.{{ value }}) AS middle,
        CASE WHEN any_value(asked.{{ value }}) IS NOT NULL THEN
            100.0 * (
                count(*) FILTER (WHERE known.{{ value }} < {{ millionths("asked." ~ value) }})
                + 0.5 * count(*) FILTER (WHERE known.{{ value }} = {{ millionths("asked." ~ value) }})
            ) / nullif(count(known.{{ value }}), 0)
        END AS percentile_pct
    FROM numbered AS asked
    LEFT JOIN (
        SELECT
            symbol,
            session_number,
            {{ millionths(value) }} AS {{ value }},
            lead(session_number) OVER (PARTITION BY symbol ORDER BY session_number) AS next_number
        FROM numbered
        WHERE {{ status }} = 'ok' AND {{ value }} IS NOT NULL
    ) AS known
        ON asked.symbol = known.symbol
        AND known.session_number BETWEEN asked.session_number - 252 AND asked.session_number - 1
    WHERE asked.session BETWEEN {{ session_start }} AND {{ session_end }}
    GROUP BY asked.symbol, asked.session
{%- endmacro -%}

WITH numbered AS (
    SELECT
        daily.*,
        calendar.session_number,
        CASE WHEN daily.cm30_status = 'ok' THEN daily.cm30_atm_iv END AS iv_ok
    FROM {{ ref('atm_iv_daily') }} AS daily
    INNER JOIN {{ ref('exchange_sessions') }} AS calendar ON daily.session = calendar.session
),

changed AS (
    SELECT
        *,
        100.0 * (iv_ok / max(iv_ok) OVER five_before - 1.0) AS iv_change_5d_pct,
        100.0 * (iv_ok / max(iv_ok) OVER twenty_before - 1.0) AS iv_change_20d_pct,
        max(available_at) OVER year_and_today AS known_at,
        max(ingested_at) OVER year_and_today AS stored_at
    FROM numbered
    WINDOW
        five_before AS (PARTITION BY symbol ORDER BY session_number RANGE BETWEEN 5 PRECEDING AND 5 PRECEDING),
        twenty_before AS (PARTITION BY symbol ORDER BY session_number RANGE BETWEEN 20 PRECEDING AND 20 PRECEDING),
        year_and_today AS (PARTITION BY symbol ORDER BY session_number RANGE BETWEEN 252 PRECEDING AND CURRENT ROW)
),

iv_year AS (
    {{- year_before("cm30_atm_iv", "cm30_status") }}
),

skew_year AS (
    {{- year_before("rr25", "skew_status") }}
),

usable AS (
    SELECT
        symbol,
        session,
        n,
        history_status,
        CASE WHEN history_status <> 'insufficient' THEN high END AS high,
        CASE WHEN history_status <> 'insufficient' THEN low END AS low,
        CASE WHEN history_status <> 'insufficient' THEN total / n END AS mean,
        CASE WHEN history_status <> 'insufficient' THEN middle END AS middle,
        CASE WHEN history_status <> 'insufficient'
            THEN sqrt(CAST(n * total_of_squares - total * total AS DOUBLE)) / n
        END AS deviation,
        CASE WHEN history_status <> 'insufficient' THEN percentile_pct END AS percentile_pct
    FROM iv_year
)

SELECT
    changed.symbol,
    changed.session,
    changed.cm30_atm_iv,
    changed.cm30_iv_call,
    changed.cm30_iv_put,
    changed.cm30_status,
    changed.cm90_atm_iv,
    changed.term_slope_90_30,
    usable.high / 1e6 AS iv_252d_high,
    usable.low / 1e6 AS iv_252d_low,
    usable.mean / 1e6 AS iv_252d_mean,
    usable.middle / 1e6 AS iv_252d_median,
    usable.deviation / 1e6 AS iv_252d_stddev,
    100.0 * greatest(0, least(usable.high - usable.low, {{ millionths("changed.cm30_atm_iv") }} - usable.low))
        / nullif(CASE WHEN changed.cm30_atm_iv IS NOT NULL THEN usable.high - usable.low END, 0) AS iv_rank_pct,
    usable.percentile_pct AS iv_percentile_pct,
    coalesce(
        usable.high > usable.low
        AND {{ millionths("changed.cm30_atm_iv") }} NOT BETWEEN usable.low AND usable.high,
        FALSE
    ) AS rank_clipped,
    ({{ millionths("changed.cm30_atm_iv") }} - usable.mean) / nullif(usable.deviation, 0) AS iv_zscore,
    CASE WHEN usable.percentile_pct >= bands.from_pct THEN bands.iv_regime END AS iv_regime,
    CASE
        WHEN changed.iv_change_20d_pct > 10 THEN 'EXPANDING'
        WHEN changed.iv_change_20d_pct < -10 THEN 'CONTRACTING'
        WHEN changed.iv_change_20d_pct IS NOT NULL THEN 'STABLE'
    END AS iv_trend,
    changed.iv_change_5d_pct,
    changed.iv_change_20d_pct,
    changed.rr25,
    changed.fly25,
    changed.skew_slope,
    CASE WHEN skew_year.history_status <> 'insufficient' THEN skew_year.percentile_pct END AS skew_percentile_pct,
    changed.rv21,
    changed.rv_estimator,
    changed.cm30_atm_iv * changed.cm30_atm_iv - changed.rv21 * changed.rv21 AS vrp_var,
    usable.n AS n_history,
    usable.history_status,
    changed.earnings_in_window,
    changed.source,
    changed.quality,
    changed.quality_flags,
    changed.known_at AS available_at,
    changed.stored_at AS ingested_at,
    changed.revision,
    'iv-percentile-1' AS definition_version
FROM changed
INNER JOIN usable ON changed.symbol = usable.symbol AND changed.session = usable.session
INNER JOIN skew_year ON changed.symbol = skew_year.symbol AND changed.session = skew_year.session
ASOF LEFT JOIN {{ ref('iv_regime_bands') }} AS bands ON usable.percentile_pct >= bands.from_pct
