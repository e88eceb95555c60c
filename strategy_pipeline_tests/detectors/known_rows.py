"""The known answers of detectors.md section 6 for the price-only families: inputs and result as printed there."""

from strategy_pipeline_tests.detectors.rows import Row, row

# Name, detector, row, score (None = not fired). Inputs the table does not show are null; O rows show no close, which
# section 3 requires of every detector, so theirs is the 100 of prev_close (no rule of opening_drive reads it).
BREAKOUT = "breakout_bullish"
REVERSION = "mean_reversion_long"
TREND = "trend_continuation_long"
POWER = "power_hour_reversal_bullish"
INDEX_REVERSION = "index_mean_reversion_long"
DRIVE = "opening_drive_bullish"

B1 = row("STOCK", close=102.0, range_high_20=101.8, rvol=2.6, vwap_dist_pct=0.8, or_high=101.9, swing_high=101.5,
         rsi14_5m=65.0, rsi14_15m=62.0, rsi14_1h=72.0, flow_bias="bullish", flow_score=75.0)  # fmt: skip
B2 = row("STOCK", close=102.0, range_high_20=101.8, rvol=1.3, vwap_dist_pct=0.1)
B3 = row("STOCK", close=102.0, range_high_20=101.8, rvol=4.0, vwap_dist_pct=1.5, or_high=102.0, swing_high=102.3,
         rsi14_5m=70.0, rsi14_15m=60.0, rsi14_1h=50.0, flow_bias="bearish", flow_score=90.0)  # fmt: skip
B4 = B2 | {"close": 101.8, "rvol": 3.0}

M1 = row("STOCK", close=97.0, ema21=99.0, atr14=0.8, rsi14=22.0, rsi14_delta=1.5, vwap_dist_pct=-1.1, rvol=1.6,
         trend_state="ranging", rsi_div_bull=60.0, patient_candle=True)  # fmt: skip
M2 = row("STOCK", close=97.0, ema21=98.6, atr14=0.8, rsi14=29.0, rsi14_delta=-0.5, vwap_dist_pct=-0.51, rvol=1.2,
         trend_state="volatile", rsi_div_bull=0.0)  # fmt: skip
M3 = row("STOCK", close=97.0, ema21=99.4, atr14=0.8, rsi14=18.0, rsi14_delta=2.0, vwap_dist_pct=-1.6, rvol=2.5,
         trend_state="choppy")  # fmt: skip
M4 = M3 | {"trend_state": "trending_down"}

T1 = row("STOCK", close=102.0, ema21=101.4, ema50=100.2, ema200=99.0, atr14=0.5, rsi14=54.0, vwap_dist_pct=0.3,
         rvol=1.1, trend_state="trending_up", higher_lows=True, swing_low=101.8, ema21_15m=101.4, ema50_15m=100.2,
         ema21_1h=100.5, ema50_1h=99.0, flow_bias="bullish", flow_score=72.0, flow_sweeps_bull=3,
         flow_trend="INCREASING")  # fmt: skip
T2 = row("STOCK", close=102.0, ema21=101.9, ema50=101.6, atr14=0.5, rsi14=46.0, vwap_dist_pct=0.9, rvol=1.8,
         trend_state="trending_up")  # fmt: skip
T3 = row("STOCK", close=102.0, ema21=101.4, ema50=100.2, ema200=103.0, atr14=0.5, rsi14=58.0, vwap_dist_pct=-0.1,
         rvol=0.8, trend_state="trending_up", flow_bias="bearish", flow_score=80.0, flow_trend="DECREASING",
         ema21_15m=101.4, ema50_15m=100.2, ema21_1h=100.5, ema50_1h=101.0)  # fmt: skip
T4 = T1 | {"close": 102.5}

P1 = row("INDEX", close=98.2, session_low=98.0, session_high=100.5, rsi14=28.0, rvol=1.4, minutes_to_close=40,
         session_move_pct=-1.2, flow_bias="bullish", flow_sweeps_bull=3, flow_blocks_bull=1)  # fmt: skip
P2 = row("INDEX", close=98.4, session_low=98.0, session_high=99.0, rsi14=39.0, rvol=1.2, minutes_to_close=60,
         session_move_pct=0.1)  # fmt: skip
P3 = row("INDEX", close=98.0, session_low=98.0, session_high=101.0, rsi14=24.0, rvol=2.0, minutes_to_close=20,
         session_move_pct=-2.0, flow_bias="bullish", flow_sweeps_bull=5, flow_blocks_bull=3)  # fmt: skip

I1 = row("INDEX", close=98.5, ema21=99.5, atr14=0.4, rsi14=21.0, rsi14_delta=0.8, vwap_dist_pct=-0.9, rvol=1.1,
         trend_state="ranging", rsi_div_bull=40.0, minutes_since_open=120, minutes_to_close=270)  # fmt: skip
I2 = row("INDEX", close=98.5, ema21=99.22, atr14=0.4, rsi14=24.9, rsi14_delta=-1.0, vwap_dist_pct=-0.41, rvol=1.0,
         trend_state="choppy", minutes_since_open=20, minutes_to_close=370)  # fmt: skip
I3 = row("INDEX", close=98.5, ema21=99.5, atr14=0.4, rsi14=19.0, rsi14_delta=0.8, vwap_dist_pct=-1.2, rvol=2.0,
         trend_state="trending_up", rsi_div_bull=0.0, minutes_since_open=60, minutes_to_close=150)  # fmt: skip

O1 = row("INDEX", minutes_since_open=20, session_move_pct=0.65, rvol=2.4, gap_pct=0.4, mtf_support_long_pct=75.0,
         flow_bias="bullish", flow_score=65.0, flow_sweeps_bull=1)  # fmt: skip
O2 = row("INDEX", minutes_since_open=30, session_move_pct=0.3, rvol=1.5, gap_pct=-0.6)
O3 = row("INDEX", minutes_since_open=10, session_move_pct=1.0, rvol=4.0, gap_pct=1.0, mtf_support_long_pct=65.0,
         flow_bias="bullish", flow_score=55.0, flow_sweeps_bull=4)  # fmt: skip

KNOWN: tuple[tuple[str, str, Row, float | None], ...] = (
    ("B1", BREAKOUT, B1, 78.6667),
    ("B2", BREAKOUT, B2, 37.9700),
    ("B3", BREAKOUT, B3, 80.2500),
    ("B4", BREAKOUT, B4, None),
    ("M1", REVERSION, M1, 86.2500),
    ("M2", REVERSION, M2, 64.0000),
    ("M3", REVERSION, M3, 88.0000),
    ("M4", REVERSION, M4, None),
    ("T1", TREND, T1, 97.5000),
    ("T2", TREND, T2, 56.7500),
    ("T3", TREND, T3, 67.5000),
    ("T4", TREND, T4, None),
    ("P1", POWER, P1, 87.3000),
    ("P2", POWER, P2, 42.7500),
    ("P3", POWER, P3, 100.0000),
    ("I1", INDEX_REVERSION, I1, 83.2500),
    ("I2", INDEX_REVERSION, I2, 65.5000),
    ("I3", INDEX_REVERSION, I3, 85.2500),
    ("O1", DRIVE, O1, 78.0000),
    ("O2", DRIVE, O2, 42.3750),
    ("O3", DRIVE, O3, 98.0000),
)
# A fired row of each family, the start of every "other inputs fixed" test.
FIRED = {BREAKOUT: B1, REVERSION: M1, TREND: T1, POWER: P1, INDEX_REVERSION: I1, DRIVE: O1}
