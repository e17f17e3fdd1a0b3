//! Profiles: four settings that belong together, under one name.

/// A named set of values for `write_buffer_size`, `write_flush_interval`,
/// `query_cache_size` and `compression_level`; the file, the environment and
/// flags still override each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), non_exhaustive)]
pub enum Profile {
    /// A steady service: larger batches, a larger query cache.
    Production,
    /// Bursts of events: batches five times the default, quick compression.
    HighTraffic,
    /// Events on disk within a second, whoever waits; more syncs.
    LowLatency,
    /// The smallest files, for more CPU and a longer wait in the buffer.
    StorageOptimized,
}

impl Profile {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 4] =
        [Self::Production, Self::HighTraffic, Self::LowLatency, Self::StorageOptimized];

    /// As it is written in the settings: `high-traffic`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::HighTraffic => "high-traffic",
            Self::LowLatency => "low-latency",
            Self::StorageOptimized => "storage-optimized",
        }
    }

    /// What it sets: key and value, as written in the file.
    #[must_use]
    pub fn values(self) -> [(&'static str, &'static str); 4] {
        let [buffer, interval, cache, level] = match self {
            Self::Production => ["200", "3s", "256", "6"],
            Self::HighTraffic => ["500", "10s", "512", "3"],
            Self::LowLatency => ["50", "1s", "128", "1"],
            Self::StorageOptimized => ["1000", "30s", "64", "9"],
        };
        [
            ("write_buffer_size", buffer),
            ("write_flush_interval", interval),
            ("query_cache_size", cache),
            ("compression_level", level),
        ]
    }
}
