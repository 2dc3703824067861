//! What a target says about a metric: type, unit and help.

use std::fmt;
use std::str::FromStr;

/// The type of a metric family. Numbers are those of WAL records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MetricType {
    /// Not said, or `untyped`.
    #[default]
    Unknown = 0,
    /// Only goes up, but for resets.
    Counter = 1,
    /// Goes up and down.
    Gauge = 2,
    /// Observations in buckets.
    Histogram = 3,
    /// A histogram whose buckets may go down.
    GaugeHistogram = 4,
    /// Observations as quantiles.
    Summary = 5,
    /// A constant 1 with labels.
    Info = 6,
    /// One series a state.
    StateSet = 7,
}

impl MetricType {
    /// The name as in expositions and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Unknown => "unknown",
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
        }
    }

    /// The type of a WAL record's number; unknown numbers are [`MetricType::Unknown`].
    pub fn from_number(number: u8) -> MetricType {
        match number {
            1 => MetricType::Counter,
            2 => MetricType::Gauge,
            3 => MetricType::Histogram,
            4 => MetricType::GaugeHistogram,
            5 => MetricType::Summary,
            6 => MetricType::Info,
            7 => MetricType::StateSet,
            _ => MetricType::Unknown,
        }
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A type name that no exposition format has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid metric type \"{0}\"")]
pub struct UnknownMetricType(pub String);

impl FromStr for MetricType {
    type Err = UnknownMetricType;

    fn from_str(text: &str) -> Result<MetricType, UnknownMetricType> {
        Ok(match text {
            "unknown" | "untyped" => MetricType::Unknown,
            "counter" => MetricType::Counter,
            "gauge" => MetricType::Gauge,
            "histogram" => MetricType::Histogram,
            "gaugehistogram" => MetricType::GaugeHistogram,
            "summary" => MetricType::Summary,
            "info" => MetricType::Info,
            "stateset" => MetricType::StateSet,
            _ => return Err(UnknownMetricType(text.to_owned())),
        })
    }
}

/// Type, unit and help of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// The type.
    pub metric_type: MetricType,
    /// The unit, empty where unknown.
    pub unit: String,
    /// The help text.
    pub help: String,
}
