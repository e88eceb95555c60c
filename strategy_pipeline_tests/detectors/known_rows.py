"""The known answers of detectors.md sections 6 and 8: inputs and result as printed there."""

from strategy_pipeline_tests.detectors.rows import Row, row

# Name, detector, row, score (None = not fired). Inputs the table does not show are null; O, S and N rows show no close,
# which section 3 requires of every detector, so theirs is the 100 of prev_close (no rule of these families reads it).
BREAKOUT = "breakout_bullish"
REVERSION = "mean_reversion_long"
TREND = "trend_continuation_long"
POWER = "power_hour_reversal_bullish"
INDEX_REVERSION = "index_mean_reversion_long"
DRIVE = "opening_drive_bullish"
SQUEEZE = "gamma_squeeze_bullish"
FLIP = "gamma_flip_bullish"
PIN = "eod_pin_setup"
SWEEPS = "sweep_momentum_long"
INSTITUTIONS = "institutional_flow_bullish"

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

G1 = row("INDEX", close=100.6, max_gamma_strike=100.5, net_gex_ratio=-0.35, rvol=1.8, minutes_to_close=60,
         vwap_dist_pct=0.3, mom3_pct=0.15, call_volume_share_pct=58.0, minutes_to_expiry=60)  # fmt: skip
G2 = row("INDEX", close=100.6, max_gamma_strike=100.2, net_gex_ratio=-0.1, rvol=1.3, minutes_to_close=90,
         vwap_dist_pct=0.1, mom3_pct=0.05)  # fmt: skip
G3 = row("INDEX", close=100.6, max_gamma_strike=100.6, net_gex_ratio=-0.6, rvol=3.2, minutes_to_close=15,
         vwap_dist_pct=0.5, mom3_pct=0.4, call_volume_share_pct=66.0, minutes_to_expiry=15)  # fmt: skip
G4_AGAINST = G1 | {"mom3_pct": -0.15}
G4_LONG_GAMMA = G1 | {"net_gex_ratio": -0.09}
G4_EARLY = G1 | {"minutes_to_close": 95}

F1 = row("INDEX", prev_bar_close=99.9, gamma_flip=100.1, close=100.3, is_0dte=True, minutes_to_close=120,
         minutes_to_expiry=120, gamma_flip_slope=0.3, gex_gross_adv_pct=6.0, opt_rvol=1.2, rvol=1.5)  # fmt: skip
F2 = row("INDEX", prev_bar_close=99.9, gamma_flip=100.1, close=100.3, is_0dte=True, minutes_to_close=180,
         minutes_to_expiry=180)  # fmt: skip
F3 = row("INDEX", prev_bar_close=99.9, gamma_flip=100.1, close=100.3, is_0dte=True, minutes_to_close=30,
         minutes_to_expiry=30, gamma_flip_slope=0.6, gex_gross_adv_pct=12.0, opt_rvol=1.5, rvol=3.0)  # fmt: skip

E1 = row("INDEX", close=99.9, max_pain_strike=100.0, is_0dte=True, minutes_to_close=20, minutes_to_expiry=20,
         oi_at_pin=12_000, oi_pin_share_pct=18.0, gex_at_pin=1e6)  # fmt: skip
E2 = row("INDEX", close=100.3, max_pain_strike=100.0, is_0dte=True, minutes_to_close=30, minutes_to_expiry=30,
         oi_at_pin=5_000, oi_pin_share_pct=6.0, gex_at_pin=-1e6)  # fmt: skip
E3 = row("INDEX", close=100.05, max_pain_strike=100.0, is_0dte=True, minutes_to_close=5, minutes_to_expiry=5,
         oi_at_pin=40_000, oi_pin_share_pct=35.0)  # fmt: skip
E4 = E1 | {"close": 100.0}

S1 = row("EQUITY_ETF", flow_bias="bullish", flow_sweeps_bull=4, flow_score=82.0, flow_buy_pressure_pct=72.0, rsi14=44.0,
         vwap_dist_pct=-0.1, trend_state="ranging")  # fmt: skip
S2 = row("EQUITY_ETF", flow_bias="bullish", flow_sweeps_bull=2, flow_score=70.0, flow_buy_pressure_pct=60.0, rsi14=80.0,
         vwap_dist_pct=0.4, trend_state="trending_up")  # fmt: skip
S3 = row("EQUITY_ETF", flow_bias="bullish", flow_sweeps_bull=6, flow_score=95.0, flow_buy_pressure_pct=90.0, rsi14=38.0,
         trend_state="trending_down", rsi_div_bull=0.0)  # fmt: skip

N1 = row("STOCK", flow_bias="bullish", flow_sweeps_bull=8, flow_score=86.0, flow_buy_pressure_pct=81.0,
         flow_institutional_score=91.0, flow_large_pct=52.0, flow_aggressiveness="AGGRESSIVE")  # fmt: skip
N2 = row("STOCK", flow_bias="bullish", flow_sweeps_bull=5, flow_score=80.0, flow_buy_pressure_pct=70.0,
         flow_institutional_score=70.0, flow_large_pct=40.0, flow_aggressiveness="VERY_AGGRESSIVE")  # fmt: skip
N3 = N1 | {"flow_large_pct": 39.0}

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
    ("G1", SQUEEZE, G1, 75.2500),
    ("G2", SQUEEZE, G2, 33.7000),
    ("G3", SQUEEZE, G3, 100.0000),
    ("G4 against", SQUEEZE, G4_AGAINST, None),
    ("G4 long gamma", SQUEEZE, G4_LONG_GAMMA, None),
    ("G4 early", SQUEEZE, G4_EARLY, None),
    ("F1", FLIP, F1, 73.2500),
    ("F2", FLIP, F2, 56.2500),
    ("F3", FLIP, F3, 100.0000),
    ("E1", PIN, E1, 73.3333),
    ("E2", PIN, E2, 35.0000),
    ("E3", PIN, E3, 89.3333),
    ("E4", PIN, E4, None),
    ("S1", SWEEPS, S1, 87.7500),
    ("S2", SWEEPS, S2, 72.0000),
    ("S3", SWEEPS, S3, None),
    ("N1", INSTITUTIONS, N1, 94.0000),
    ("N2", INSTITUTIONS, N2, 79.7500),
    ("N3", INSTITUTIONS, N3, None),
)
# A fired row of each family, the start of every "other inputs fixed" test.
FIRED = {
    BREAKOUT: B1, REVERSION: M1, TREND: T1, POWER: P1, INDEX_REVERSION: I1, DRIVE: O1,
    SQUEEZE: G1, FLIP: F1, PIN: E1, SWEEPS: S1, INSTITUTIONS: N1,
}  # fmt: skip
