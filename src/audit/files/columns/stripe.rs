//! What the parts of a stripe hold. Whoever wrote the bytes: what is not as it must be is not
//! taken.

/// The different texts of a field, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Texts {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The one with that number; 0 is none.
    pub(crate) fn get(&self, code: usize) -> Option<&[u8]> {
        let at = code.checked_sub(1)?;
        let begin = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        Some(&self.bytes[begin..self.ends[at] as usize])
    }

    /// In the order of their numbers.
    pub(crate) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = (self.len() as u16).to_le_bytes().to_vec();
        for code in 1..=self.len() {
            let length = self.get(code).map_or(0, <[u8]>::len);
            out.extend_from_slice(&(length as u16).to_le_bytes());
        }
        out.extend_from_slice(&self.bytes);
        out
    }

    pub(super) fn decode(raw: &[u8]) -> Option<Self> {
        let (count, rest) = raw.split_first_chunk()?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (lengths, bytes) = rest.split_at_checked(2 * count)?;
        let mut end = 0;
        let ends = lengths.chunks_exact(2).map(|two| {
            end += u32::from(u16::from_le_bytes([two[0], two[1]]));
            end
        });
        let ends: Vec<u32> = ends.collect();
        (end as usize == bytes.len()).then(|| Self { bytes: bytes.to_vec(), ends })
    }
}

/// For each record the number of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    /// At most 255 texts.
    Bytes(Vec<u8>),
    /// More.
    Words(Vec<u16>),
}

impl Codes {
    /// A record's.
    pub(crate) fn get(&self, row: usize) -> usize {
        match self {
            Self::Bytes(codes) => usize::from(codes[row]),
            Self::Words(codes) => usize::from(codes[row]),
        }
    }

    /// Each record's of some, one after the other.
    pub(crate) fn each(&self, rows: std::ops::Range<usize>, mut each: impl FnMut(usize, usize)) {
        match self {
            Self::Bytes(codes) => {
                rows.clone().zip(&codes[rows]).for_each(|(row, code)| each(row, (*code).into()));
            }
            Self::Words(codes) => {
                rows.clone().zip(&codes[rows]).for_each(|(row, code)| each(row, (*code).into()));
            }
        }
    }

    pub(super) fn encode(codes: &[u16], texts: usize) -> Vec<u8> {
        if texts <= usize::from(u8::MAX) {
            codes.iter().map(|code| *code as u8).collect()
        } else {
            codes.iter().flat_map(|code| code.to_le_bytes()).collect()
        }
    }

    pub(super) fn decode(raw: &[u8], records: usize, texts: usize) -> Option<Self> {
        let (codes, width) = if texts <= usize::from(u8::MAX) {
            (Self::Bytes(raw.to_vec()), 1)
        } else {
            let words = raw.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
            (Self::Words(words.collect()), 2)
        };
        let most = match &codes {
            Self::Bytes(codes) => codes.iter().max().map(|code| usize::from(*code)),
            Self::Words(codes) => codes.iter().max().map(|code| usize::from(*code)),
        };
        (raw.len() == width * records && most.unwrap_or(0) <= texts).then_some(codes)
    }
}

pub(super) fn encode_times(times: &[i64]) -> Vec<u8> {
    let (mut out, mut before) = (Vec::with_capacity(2 * times.len()), 0_i64);
    for time in times {
        let later = time.wrapping_sub(before);
        let mut left = ((later << 1) ^ (later >> 63)) as u64;
        while left >= 0x80 {
            out.push(left as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
        before = *time;
    }
    out
}

/// The times of so many records.
pub(crate) fn times(raw: &[u8], records: usize) -> Option<Vec<i64>> {
    let (mut times, mut before, mut at) = (Vec::with_capacity(records), 0_i64, 0);
    for _ in 0..records {
        let (mut code, mut shift) = (0_u64, 0);
        loop {
            let byte = *raw.get(at)?;
            at += 1;
            code |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
            shift += 7;
            if shift > 63 {
                return None;
            }
        }
        before = before.wrapping_add((code >> 1) as i64 ^ -((code & 1) as i64));
        times.push(before);
    }
    (at == raw.len()).then_some(times)
}
