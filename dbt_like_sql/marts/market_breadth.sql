/*
description: >
  How many of the session's stocks and funds rose, fell, made 52-week highs or lows, and lie above their SMA50. The
  universe of a session is whatever had a daily bar and a volume that day: names delisted since count while they
  traded, indices never do. Prices are put on a basis that runs through splits, by the splits effective up to the bar.
group: market
partitioning: {by: session, look_back_sessions: 252}
columns:
  session: {doc: "Exchange date (XNYS)", tests: [not_null, unique]}
  members:
    doc: "Symbols with a daily bar and a volume in the session, delisted since or not"
    tests: [not_null, {between: [1, 100000]}]
  advancers: {doc: "Members whose close lies above their previous close"}
  decliners: {doc: "Members whose close lies below their previous close"}
  unchanged: {doc: "Members whose close equals their previous close"}
  advance_decline_ratio:
    doc: "Advancers per decliner, ratio; null without decliners"
    tests: [{between: [0, 100000]}]
  advance_decline_diff: {doc: "Advancers less decliners"}
  members_year: {doc: "Members with bars in at least 227 of the 252 prior sessions"}
  new_highs: {doc: "Those of members_year whose close lies above every close of the 252 prior sessions"}
  new_lows: {doc: "Those of members_year whose close lies below every close of the 252 prior sessions"}
  high_low_ratio: {doc: "New highs per new low, ratio; null without new lows"}
  members_sma50: {doc: "Members with bars in at least 45 of the last 50 sessions"}
  pct_above_sma50:
    doc: "Share of members_sma50 that close above their mean of 50 sessions, 0-100"
    tests: [{between: [0, 100]}]
  source: {doc: "derived, or synthetic when every bar is"}
  quality: {doc: "Worst quality among the session's bars", tests: [{accepted_values: [provisional, final, suspect]}]}
  quality_flags: {doc: "What is odd about the row; empty when nothing"}
  available_at:
    doc: "16:15 New York, or when the last of the session's bars was known if that is later"
    tests: [not_null]
  ingested_at: {doc: "Latest store time among the session's bars"}
  revision: {doc: "0 for the first version of the row"}
  definition_version: {doc: "Method that produced the row"}
*/
WITH bars AS (
    SELECT symbol, session, open, close, source, quality, available_at, ingested_at
    FROM {{ ref('historical_bars') }}
    WHERE timeframe = '1d' AND volume IS NOT NULL
),

splits AS (
    SELECT symbol, ex_date, product(split_ratio) OVER (PARTITION BY symbol ORDER BY ex_date) AS factor
    FROM {{ ref('corporate_actions') }}
    WHERE action = 'split'
),

on_one_basis AS (
    SELECT
        bars.symbol,
        bars.session,
        calendar.session_number,
        calendar.closing_known_at,
        bars.open * coalesce(splits.factor, 1.0) AS open,
        bars.close * coalesce(splits.factor, 1.0) AS close,
        bars.source,
        bars.quality,
        bars.available_at,
        bars.ingested_at
    FROM bars
    INNER JOIN {{ ref('exchange_sessions') }} AS calendar ON bars.session = calendar.session
    ASOF LEFT JOIN splits ON bars.symbol = splits.symbol AND bars.session >= splits.ex_date
),

linked AS (
    SELECT
        *,
        lag(close) OVER by_symbol AS previous_close,
        session_number - lag(session_number) OVER by_symbol AS passed
    FROM on_one_basis
    WINDOW by_symbol AS (PARTITION BY symbol ORDER BY session_number)
),

-- A series is cut where the bar filter cuts one: after more than ten sessions without a bar, and where both open and
-- close lie over 40 % away from the previous close (a ticker that changed hands, a split nobody reported).
marked AS (
    SELECT
        *,
        previous_close IS NULL
        OR passed > 11
        OR least(open, close) > previous_close * 1.4
        OR greatest(open, close) < previous_close * 0.6 AS starts
    FROM linked
),

series AS (
    SELECT
        *,
        count(*) FILTER (WHERE starts) OVER (PARTITION BY symbol ORDER BY session_number) AS series_number
    FROM marked
),

-- Windows count sessions, not bars, so that what a partition looks back at does not depend on how a backfill was cut.
judged AS (
    SELECT
        *,
        CASE WHEN NOT starts THEN sign(close - previous_close) END AS direction,
        count(*) OVER year_before >= 227 AS has_year,
        close > max(close) OVER year_before AS at_high,
        close < min(close) OVER year_before AS at_low,
        count(*) OVER fifty >= 45 AS has_fifty,
        -- A mean of equal closes may differ from them in the last bit.
        close > avg(close) OVER fifty * (1.0 + 1e-12) AS above_mean
    FROM series
    WINDOW
        year_before AS (
            PARTITION BY symbol, series_number ORDER BY session_number
            RANGE BETWEEN 252 PRECEDING AND 1 PRECEDING
        ),
        fifty AS (
            PARTITION BY symbol, series_number ORDER BY session_number
            RANGE BETWEEN 49 PRECEDING AND CURRENT ROW
        )
),

counted AS (
    SELECT
        session,
        count(*) AS members,
        count(direction) AS members_compared,
        count(*) FILTER (WHERE direction > 0) AS advancers,
        count(*) FILTER (WHERE direction < 0) AS decliners,
        count(*) FILTER (WHERE direction = 0) AS unchanged,
        count(*) FILTER (WHERE has_year) AS members_year,
        count(*) FILTER (WHERE has_year AND at_high) AS new_highs,
        count(*) FILTER (WHERE has_year AND at_low) AS new_lows,
        count(*) FILTER (WHERE has_fifty) AS members_sma50,
        count(*) FILTER (WHERE has_fifty AND above_mean) AS above_sma50,
        bool_and(source = 'synthetic') AS all_synthetic,
        bool_or(quality = 'suspect') AS any_suspect,
        bool_or(quality = 'provisional') AS any_provisional,
        greatest(max(closing_known_at), max(available_at)) AS available_at,
        max(ingested_at) AS ingested_at
    FROM judged
    WHERE session BETWEEN {{ session_start }} AND {{ session_end }}
    GROUP BY session
)

SELECT
    session,
    members,
    CASE WHEN members_compared > 0 THEN advancers END AS advancers,
    CASE WHEN members_compared > 0 THEN decliners END AS decliners,
    CASE WHEN members_compared > 0 THEN unchanged END AS unchanged,
    advancers / nullif(decliners, 0) AS advance_decline_ratio,
    CASE WHEN members_compared > 0 THEN advancers - decliners END AS advance_decline_diff,
    members_year,
    CASE WHEN members_year > 0 THEN new_highs END AS new_highs,
    CASE WHEN members_year > 0 THEN new_lows END AS new_lows,
    new_highs / nullif(new_lows, 0) AS high_low_ratio,
    members_sma50,
    100.0 * above_sma50 / nullif(members_sma50, 0) AS pct_above_sma50,
    CASE WHEN all_synthetic THEN 'synthetic' ELSE 'derived' END AS source,
    CASE WHEN any_suspect THEN 'suspect' WHEN any_provisional THEN 'provisional' ELSE 'final' END AS quality,
    CAST([] AS VARCHAR[]) AS quality_flags,
    available_at,
    ingested_at,
    0 AS revision,
    'breadth-1' AS definition_version
FROM counted
