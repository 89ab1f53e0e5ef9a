"""ML Predictions: how far predictions can be trusted. Empty until there is a trained model."""

from .model import CALM, Dashboard, Drill, Kind, Panel, Query, Row, Steps, Unit, Variable
from .promql import quantile, rate, share

SCENARIO = 'scenario=~"$scenario"'
PRODUCTION, QUALITY = Drill("ffrtmp-production"), Drill("ffrtmp-quality", "scenario", "scenario")
ENERGY, COST = Drill("ffrtmp-energy", "scenario", "scenario"), Drill("ffrtmp-cost", "scenario", "scenario")
NO_MODEL = "There is no trained model yet, and nothing is invented"

MODEL = (
    Panel(
        title="Model in use",
        description="1 once there is a trained model, 0 until then.",
        kind=Kind.NUMBER,
        unit=Unit.STATE,
        queries=(Query("max(ml_exporter_up)", "model"),),
        steps=Steps(warn=1, alarm=0.5),
        empty="No master serves predictions: see docs/configuration.md",
        drill=(PRODUCTION,),
        states=(("0", "none", "yellow"), ("1", "trained", "green")),
    ),
    Panel(
        title="Versions",
        description="Version of each model.",
        kind=Kind.TABLE,
        unit=Unit.STATE,
        queries=(Query("max by (model, version) (ml_model_info)", "{{model}} {{version}}"),),
        steps=CALM,
        empty=NO_MODEL,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="Age of the models",
        description="Since they were trained.",
        kind=Kind.NUMBER,
        unit=Unit.SECONDS_AGO,
        queries=(Query("time() - max by (model) (ml_model_trained_timestamp_seconds)", "{{model}}"),),
        steps=Steps(warn=30 * 86400, alarm=90 * 86400),
        empty=NO_MODEL,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="Jobs learned from",
        description="Jobs that each model was trained on.",
        kind=Kind.NUMBER,
        unit=Unit.COUNT,
        queries=(Query("max by (model) (ml_model_training_samples)", "{{model}}"),),
        steps=Steps(warn=1000, alarm=100),
        empty=NO_MODEL,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="Error on unseen jobs",
        description="Mean absolute error by the true value (MAPE) on jobs that were kept from training.",
        kind=Kind.LINES,
        unit=Unit.RATIO,
        queries=(Query("max by (model) (ml_model_mape_ratio)", "{{model}}"),),
        steps=Steps(warn=0.15, alarm=0.3),
        empty=NO_MODEL,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="Variance explained",
        description="R² on the same jobs; 1 is perfect, below 0.85 is not good enough for quality.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=(Query("max by (model) (ml_model_r2)", "{{model}}"),),
        steps=Steps(warn=0.85, alarm=0.6),
        empty=NO_MODEL,
        drill=(PRODUCTION,),
        low=None,
        high=1,
    ),
)

USE = (
    Panel(
        title="Predictions per second",
        description="By model.",
        kind=Kind.LINES,
        unit=Unit.PER_SECOND,
        queries=(Query(rate("ml_predictions_total", "model"), "{{model}}"),),
        steps=CALM,
        empty=NO_MODEL,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="Predictions that failed",
        description="Part of all predictions.",
        kind=Kind.LINES,
        unit=Unit.RATIO,
        queries=(
            Query(
                share(rate("ml_prediction_errors_total", "model"), rate("ml_predictions_total", "model")), "{{model}}"
            ),
        ),
        steps=Steps(warn=0.01, alarm=0.05),
        empty=NO_MODEL,
        drill=(PRODUCTION,),
        high=1,
    ),
    Panel(
        title="Time of a prediction",
        description="95 % take less.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(Query(quantile(0.95, "ml_prediction_seconds", "model"), "{{model}}"),),
        steps=Steps(warn=0.05, alarm=0.5),
        empty=NO_MODEL,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="Error in use",
        description="Error by the true value once the truth is known: half and 95 % have less.",
        kind=Kind.LINES,
        unit=Unit.RATIO,
        queries=(
            Query(quantile(0.5, "ml_prediction_error_ratio", "model"), "{{model}} p50"),
            Query(quantile(0.95, "ml_prediction_error_ratio", "model"), "{{model}} p95"),
        ),
        steps=Steps(warn=0.15, alarm=0.3),
        empty=NO_MODEL,
        drill=(PRODUCTION,),
    ),
)


def against(predicted: str, measured: str) -> tuple[Query, ...]:
    """The latest prediction beside the latest measurement."""
    return (
        Query(f"max by (scenario) ({predicted}{{{SCENARIO}}})", "{{scenario}} predicted"),
        Query(f"max by (scenario) ({measured}{{{SCENARIO}}})", "{{scenario}} measured"),
    )


TRUTH = (
    Panel(
        title="Duration",
        description="The latest prediction beside the latest job.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=against("ml_predicted_duration_seconds", "results_scenario_duration_seconds"),
        steps=CALM,
        empty=NO_MODEL,
        drill=(QUALITY,),
        width=6,
    ),
    Panel(
        title="Energy",
        description="The latest prediction beside the latest job.",
        kind=Kind.LINES,
        unit=Unit.JOULES,
        queries=against(
            "ml_predicted_energy_joules", "results_scenario_mean_power_watts * results_scenario_duration_seconds"
        ),
        steps=CALM,
        empty=NO_MODEL,
        drill=(ENERGY,),
        width=6,
    ),
    Panel(
        title="Cost",
        description="The latest prediction beside the latest job.",
        kind=Kind.LINES,
        unit=Unit.MONEY,
        queries=against("ml_predicted_cost", "cost_total_load_aware"),
        steps=CALM,
        empty=NO_MODEL,
        drill=(COST,),
        width=6,
    ),
    Panel(
        title="VMAF",
        description="The latest prediction beside the latest measurement.",
        kind=Kind.LINES,
        unit=Unit.VMAF,
        queries=against("ml_predicted_vmaf_score", "qoe_vmaf_score"),
        steps=Steps(warn=90, alarm=80),
        empty=NO_MODEL,
        drill=(QUALITY,),
        width=6,
        high=100,
    ),
)

DASHBOARD = Dashboard(
    uid="ffrtmp-predictions",
    description="How far predictions can be trusted. Empty until there is a trained model.",
    variables=(Variable("scenario", "scenario", "results_scenario_jobs_total"),),
    rows=(Row("Models", MODEL), Row("Use", USE), Row("Beside the truth", TRUTH)),
)
