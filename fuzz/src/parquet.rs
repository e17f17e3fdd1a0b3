//! The archive's Parquet objects: hostile files, and hostile lines.

/// As a file, and as lines to be made one.
#[cfg(not(feature = "parquet"))]
pub fn check(_: &[u8]) {}

#[cfg(feature = "parquet")]
pub use with::check;

#[cfg(feature = "parquet")]
mod with {
    use auditctl::archive::parquet::{Lines, ParquetError, Writer};
    use auditctl::archive::{HostName, LogName, ObjectName, Place, Span};

    /// What the seeds' name says.
    fn place(first: u64, end: u64) -> Place {
        let log = LogName::new("0123456789abcdef", 0).expect("a log's id");
        let span = Span { first, end };
        let name = format!("parquet/v1/day=2026-02-04/host=web-1/{}.e0.{span}.parquet", log.id());
        match name.parse() {
            Ok(ObjectName::Parquet(place)) => place,
            other => panic!("{other:?} of {:?}", HostName::of("web-1")),
        }
    }

    fn read(file: &[u8], place: &Place) -> Result<Vec<Vec<u8>>, ParquetError> {
        let mut lines = Lines::of(file.to_vec(), place)?;
        let mut found = Vec::new();
        while let Some((seq, line)) = lines.next_line()? {
            assert!((place.span.first..place.span.end).contains(&seq));
            assert!(line.len() < 32 << 20, "{} bytes", line.len());
            found.push(line.to_vec());
            // A file of this size holds no more that is worth the time.
            if found.len() == 1_000 {
                break;
            }
        }
        Ok(found)
    }

    fn made(lines: &[Vec<u8>], place: &Place) -> Result<Vec<u8>, ParquetError> {
        let mut writer = Writer::new(Vec::new(), place.clone())?;
        for line in lines {
            writer.add([&line[..], b"\n"].concat())?;
        }
        writer.finish()
    }

    /// As a file, and as lines to be made one.
    pub fn check(data: &[u8]) {
        let all = place(0, 1 << 40);
        // The library that reads it may panic, which the reader takes for a wrong file; only
        // what the reader lets out counts, and libFuzzer's hook would end the process before.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let found = std::panic::catch_unwind(|| read(data, &all));
        std::panic::set_hook(hook);
        let found = found.expect("the reader does not panic");
        if let Ok(lines) = found {
            let again = made(&lines, &all).expect("lines that were read can be written");
            assert_eq!(read(&again, &all), Ok(lines));
        }
        let lines: Vec<Vec<u8>> = data
            .split(|byte| *byte == b'\n')
            .enumerate()
            .map(|(seq, body)| [format!("{{\"seq\":{seq},").as_bytes(), body].concat())
            .collect();
        let place = place(0, lines.len() as u64);
        let file = made(&lines, &place).expect("every line can be written");
        assert_eq!(
            read(&file, &place).map(|mut all| {
                all.truncate(1_000);
                all
            }),
            Ok(lines.into_iter().take(1_000).collect())
        );
    }
}
