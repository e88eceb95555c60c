/*
description: >
  Plain counts for every detector that traded in the stored backtest: trades, wins, expectancy and profit factor in R,
  after costs. Intervals, verdicts and detectors that could not be tested are in the backtest report.
group: backtests
sort_by: [detector, run_id]
columns:
  detector: {type: str, key: true, doc: Detector that fired, tests: [not_null]}
  run_id: {type: str, key: true, doc: "Hash of configuration, data and code version", tests: [not_null]}
  trades: {type: i64, nullable: false, doc: Trades taken, tests: [{between: [1, 1000000000]}]}
  winners: {type: i64, nullable: false, doc: Trades with a net result above 1e-12 R}
  losers: {type: i64, nullable: false, doc: Trades with a net result below -1e-12 R}
  breakeven: {type: i64, nullable: false, doc: All other trades}
  win_rate_pct: {type: f64, nullable: false, doc: "Winners, % of trades", tests: [{between: [0, 100]}]}
  expectancy_r: {type: f64, nullable: false, doc: "Mean net result, R", tests: [not_null]}
  expectancy_gross_r: {type: f64, nullable: false, doc: "Mean result before costs, R"}
  avg_win_r: {type: f64, doc: "Mean net result of the winners, R; null without one"}
  avg_loss_r: {type: f64, doc: "Mean net result of the losers, R; null without one"}
  profit_factor:
    type: f64
    doc: "Net R won per net R lost, ratio; 0 without a winner, null without a loser"
    tests: [{between: [0, 1000000000]}]
  profit_factor_status:
    type: enum
    values: [ok, no_losses]
    nullable: false
    doc: no_losses where nothing was lost and the factor has no value
    tests: [{accepted_values: [ok, no_losses]}]
  pnl_net_usd: {type: f64, nullable: false, doc: "Sum of net results, $"}
  cost_r: {type: f64, nullable: false, doc: "Mean cost of a trade, R"}
  first_session: {type: date, nullable: false, doc: Session of the first signal that was traded}
  last_session: {type: date, nullable: false, doc: Session of the last signal that was traded}
tests:
  - unique: [detector, run_id]
*/
WITH results AS (
    SELECT
        detector,
        run_id,
        count(*) AS trades,
        count(*) FILTER (WHERE r_net > 1e-12) AS winners,
        count(*) FILTER (WHERE r_net < -1e-12) AS losers,
        avg(r_net) AS expectancy_r,
        avg(r_gross) AS expectancy_gross_r,
        sum(r_net) FILTER (WHERE r_net > 1e-12) AS won_r,
        -sum(r_net) FILTER (WHERE r_net < -1e-12) AS lost_r,
        sum(pnl_net) AS pnl_net_usd,
        avg(cost_r) AS cost_r,
        min(session) AS first_session,
        max(session) AS last_session
    FROM {{ ref('backtest_trades') }}
    GROUP BY detector, run_id
)

SELECT
    detector,
    run_id,
    trades,
    winners,
    losers,
    trades - winners - losers AS breakeven,
    100.0 * winners / trades AS win_rate_pct,
    expectancy_r,
    expectancy_gross_r,
    won_r / winners AS avg_win_r,
    -lost_r / losers AS avg_loss_r,
    CASE WHEN winners = 0 THEN 0.0 ELSE won_r / lost_r END AS profit_factor,
    CASE WHEN winners > 0 AND losers = 0 THEN 'no_losses' ELSE 'ok' END AS profit_factor_status,
    pnl_net_usd,
    cost_r,
    first_session,
    last_session
FROM results
