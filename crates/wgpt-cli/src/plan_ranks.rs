//! The part of `wgpt plan` about several ranks.

use clap::Args;
use serde::Serialize;

use super::ranks::Wire;
use wgpt::{
    Error, Result,
    error::counted,
    gpu::{Gpu, adapter::on_processor},
    parallel::{
        Group,
        forecast::{Forecast, Rates},
    },
    train::{Settings, bandwidth, plan::Plan},
};

/// Heading in the help. It is repeated for each option, because a common heading would also apply to later options.
const HEADING: &str = "Options of many ranks";

/// Options about ranks.
#[derive(Clone, Debug, Args)]
pub(super) struct ForecastArguments {
    /// Number of ranks that share each step's batch; under mpirun, the number started
    #[arg(long, help_heading = HEADING, value_name = "N")]
    pub ranks: Option<usize>,
    /// Gigabytes per second that a rank sends to others [default: measured under mpirun, otherwise 1.25, that is 10
    /// Gbit/s]
    #[arg(long, help_heading = HEADING, value_name = "GB/S")]
    link: Option<f64>,
    /// Additional microseconds per message [default: measured under mpirun, otherwise 20]
    #[arg(long, help_heading = HEADING, value_name = "US")]
    latency: Option<f64>,
    /// Milliseconds of a rank's step on another GPU, instead of the measurement on this one
    #[arg(long, help_heading = HEADING, value_name = "MS")]
    pub step_ms: Option<f64>,
    /// Gigabytes per second between that GPU and its host's memory
    #[arg(long, help_heading = HEADING, value_name = "GB/S", default_value_t = 20.0, requires = "step_ms")]
    pub host_link: f64,
    /// Steps that each rank takes on its own between outer steps
    #[arg(long, help_heading = HEADING, default_value_t = 1, value_name = "STEPS")]
    sync_every: u64,
    /// Ranks that share one adapter [default: 1; on a software adapter, whose cores are shared, all]
    #[arg(long, help_heading = HEADING, value_name = "N")]
    sharing: Option<usize>,
    /// How gradients are sent: f16 takes half the bytes
    #[arg(long, help_heading = HEADING, value_enum, default_value_t = Wire::F32)]
    wire: Wire,
}

/// One rank's step, measured alone.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rank {
    /// Seconds.
    pub step: f64,
    /// Share of the machine's cores that the step keeps busy.
    pub busy: f64,
    /// Tokens per step.
    pub tokens: usize,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Bytes per second from its GPU to the host, and back.
    pub copies: (f64, f64),
    /// Whether its adapter computes on the machine's cores.
    pub software: bool,
}

impl Rank {
    /// Measures the rank whose step was planned on `gpu`, while nothing else runs there.
    pub async fn of(gpu: &Gpu, plan: &Plan) -> Result<Self> {
        Ok(Self {
            step: plan.seconds,
            busy: plan.busy.unwrap_or(1.0),
            tokens: plan.tokens,
            parameters: plan.parameters,
            copies: bandwidth::copies(gpu).await?,
            software: on_processor(gpu.info()),
        })
    }
}

/// The forecast for several ranks.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ranks {
    pub rates: Rates,
    pub asked: Forecast,
    pub table: Vec<Forecast>,
}

impl ForecastArguments {
    /// The number of ranks to plan for; [`None`] if no forecast was requested.
    pub fn count(&self, group: &Group) -> Option<usize> {
        self.ranks.or((group.size() > 1).then_some(group.size()))
    }

    /// Refuses invalid values.
    pub fn validate(&self) -> Result<()> {
        let positive = |name: &str, value: Option<f64>| match value {
            Some(value) if !(value.is_finite() && value > 0.0) => {
                Err(Error::Usage(format!("{name} {value}: give a positive number")))
            }
            _ => Ok(()),
        };
        positive("--link", self.link)?;
        positive("--latency", self.latency)?;
        positive("--step-ms", self.step_ms)?;
        positive("--host-link", Some(self.host_link))?;
        if self.ranks == Some(0) || self.sharing == Some(0) || self.sync_every == 0 {
            return Err(Error::Usage("--ranks, --sharing and --sync-every: give at least 1".to_string()));
        }
        Ok(())
    }

    /// The settings for one of `count` ranks that share a step of `settings`.
    pub fn share(&self, settings: &Settings, count: usize) -> Result<Settings> {
        let rows = settings.batch * settings.accumulate;
        if rows < count {
            return Err(Error::Usage(format!(
                "--ranks {count}: a step has {rows} rows, give --batch {count} or more (--batch times --accumulate rows)"
            )));
        }
        // The largest share counts, because the other ranks wait for it.
        let own = rows.div_ceil(count);
        let accumulate = own.div_ceil(settings.batch);
        Ok(Settings { batch: own.div_ceil(accumulate), accumulate, ..settings.clone() })
    }

    /// The forecast from one rank's step. All ranks must call this, because messages between them are timed.
    pub fn forecast(
        &self,
        group: &Group,
        count: usize,
        Rank { step, busy, tokens, parameters, copies: (down, up), software }: Rank,
    ) -> Result<Ranks> {
        let (link, latency) = if group.size() > 1 { bandwidth::sums(group)? } else { (1.25e9, 20e-6) };
        let rates = Rates {
            step,
            tokens,
            parameters,
            bytes_per_number: if self.wire == Wire::F16 { 2.0 } else { 4.0 },
            down,
            up,
            link: self.link.map_or(link, |link| link * 1e9),
            latency: self.latency.map_or(latency, |latency| latency * 1e-6),
            sharing: self.sharing.unwrap_or(if software { count } else { 1 }),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            busy: if software { busy } else { 1.0 },
            sync_every: self.sync_every,
        };
        // Beyond the requested number, each rank is assumed to have its own adapter.
        let alone = Rates { sharing: self.sharing.unwrap_or(1), ..rates };
        Ok(Ranks { rates, asked: rates.forecast(count), table: alone.table() })
    }
}

/// The forecast as text.
pub(super) fn words(ranks: &Ranks) -> Vec<String> {
    let Ranks { rates, asked, table } = ranks;
    let shared = match rates.sharing {
        1 => String::new(),
        count => {
            format!(", {count} of them on one adapter's cores, of which each keeps {:.0} % busy", rates.busy * 100.0)
        }
    };
    let mut lines = vec![
        format!(
            "{}{shared}: {:.1} ms a step, {:.0} tokens/s, {:.1} MB sent by a rank per step",
            counted(asked.ranks, "rank"),
            asked.step_seconds * 1e3,
            asked.tokens_per_second,
            asked.bytes_sent / 1e6
        ),
        format!(
            "from: {:.1} ms a rank's step, {:.2} GB/s to the host and {:.2} back, {:.2} GB/s and {:.0} us between ranks",
            rates.step * 1e3,
            rates.down / 1e9,
            rates.up / 1e9,
            rates.link / 1e9,
            rates.latency * 1e6
        ),
        "if every rank had an adapter of its own and the same share of a batch that grows:".to_string(),
        "ranks      ms a step      tokens/s   efficiency   MB sent".to_string(),
    ];
    lines.extend(table.iter().map(|line| {
        format!(
            "{:>5} {:>14.1} {:>13.0} {:>10.1} % {:>9.1}",
            line.ranks,
            line.step_seconds * 1e3,
            line.tokens_per_second,
            line.efficiency * 100.0,
            line.bytes_sent / 1e6
        )
    }));
    lines
}
