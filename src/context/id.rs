//! Trace ids, span ids, flags, and the generators of ids.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::{SmallRng, SysRng};
use rand::{Rng, SeedableRng};

use crate::fork::Home;
use crate::text::hex;

/// The 16 bytes that identify a trace; valid unless all are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TraceId([u8; 16]);

/// The 8 bytes that identify a span within its trace; valid unless all are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SpanId([u8; 8]);

macro_rules! id {
    ($name:ident, $len:literal) => {
        impl $name {
            /// The invalid id: all zeros.
            pub const INVALID: Self = Self([0; $len]);

            /// The id with these bytes, most significant first.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The bytes, most significant first.
            pub const fn to_bytes(self) -> [u8; $len] {
                self.0
            }

            /// Whether any byte is not zero.
            #[inline]
            pub fn is_valid(self) -> bool {
                self != Self::INVALID
            }
        }

        impl fmt::Display for $name {
            /// Lowercase hexadecimal digits, two a byte.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 2 * $len];
                hex::encode(&self.0, &mut text);
                f.pad(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::LowerHex for $name {
            /// As [`Display`](fmt::Display).
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Reads what [`Display`](fmt::Display) writes: lowercase hexadecimal digits, two a
            /// byte, nothing else. All zeros are [`INVALID`](Self::INVALID).
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let bytes = hex::decode(text.as_bytes());
                bytes.map(Self).ok_or(InvalidId { digits: 2 * $len })
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(TraceId, 16);
id!(SpanId, 8);

/// A text that is not an id: its length is wrong, or it has a character that is no lowercase
/// hexadecimal digit.
///
/// ```
/// use tracing_otlp::SpanId;
///
/// let error = "00F067AA0BA902B7".parse::<SpanId>().unwrap_err();
/// assert_eq!(error.to_string(), "an id of this kind is 16 lowercase hexadecimal digits");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidId {
    digits: usize,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits;
        write!(
            f,
            "an id of this kind is {digits} lowercase hexadecimal digits"
        )
    }
}

impl std::error::Error for InvalidId {}

/// The flags of W3C's `traceparent`, and the debug flag of B3 and Jaeger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TraceFlags(u8);

impl TraceFlags {
    /// The caller may have recorded the trace.
    pub const SAMPLED: Self = Self(1);
    /// The rightmost 56 bits of the trace id are random.
    pub const RANDOM: Self = Self(2);
    /// The trace is being debugged, so every sampler records it. The flag travels in B3's and Jaeger's
    /// headers only: W3C has no such flag, and [`bits`](Self::bits) omits it.
    pub const DEBUG: Self = Self(SAMPLED | DEBUG);

    /// Flags with these bits; bits without a meaning are cleared.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & W3C)
    }

    /// The bits that W3C defines.
    pub const fn bits(self) -> u8 {
        self.0 & W3C
    }

    /// All bits, for storage within the process. Only [`bits`](Self::bits) may leave it.
    pub(crate) const fn to_inner(self) -> u8 {
        self.0
    }

    /// The flags of [`to_inner`](Self::to_inner); other bits are cleared.
    pub(crate) const fn from_inner(bits: u8) -> Self {
        Self(bits & (W3C | DEBUG))
    }

    /// Whether the trace is sampled.
    pub const fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED.0 != 0
    }

    /// Whether the trace id is random: see [`RANDOM`](Self::RANDOM).
    pub const fn is_random(self) -> bool {
        self.0 & Self::RANDOM.0 != 0
    }

    /// Whether the trace is being debugged: see [`DEBUG`](Self::DEBUG).
    pub const fn is_debug(self) -> bool {
        self.0 & DEBUG != 0
    }

    /// The flags that either has.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags without the others.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

const SAMPLED: u8 = 1;

/// The bits that have a meaning in `traceparent`.
const W3C: u8 = 3;

/// W3C reserves this bit, so it must never be sent in a `traceparent`.
const DEBUG: u8 = 0x40;

impl fmt::Debug for TraceFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

/// Makes the ids of new traces and spans. Called on the thread that records the span.
pub trait IdGenerator: Send + Sync + 'static {
    /// The id of a new trace; a random id replaces an invalid one.
    fn new_trace_id(&self) -> TraceId;

    /// The id of a new span; a random id replaces an invalid one.
    fn new_span_id(&self) -> SpanId;

    /// Whether the rightmost 56 bits of its trace ids are uniformly random, so that the `random`
    /// flag may be set. Default false.
    fn is_random(&self) -> bool {
        false
    }
}

/// Random ids, the default: a xoshiro256++ generator a thread, seeded by the system, and seeded again
/// in a fork of the process.
///
/// Unique, not secret: do not use an id as a credential.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

/// Random ids whose trace ids begin with the time, in seconds since 1970: the form of AWS X-Ray.
///
/// X-Ray's own services make such ids, and its older agents and collectors accept no others. The other
/// 96 bits are random, so the `random` flag may be set.
///
/// ```
/// let builder = tracing_otlp::builder().with_id_generator(tracing_otlp::context::XRayIds);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct XRayIds;

impl IdGenerator for XRayIds {
    fn new_trace_id(&self) -> TraceId {
        let mut id = RandomIds.new_trace_id().to_bytes();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        // X-Ray has 32 bits for the seconds.
        let seconds = now.map_or(0, |since| since.as_secs() as u32);
        id[..4].copy_from_slice(&seconds.to_be_bytes());
        TraceId::from_bytes(id)
    }

    fn new_span_id(&self) -> SpanId {
        RandomIds.new_span_id()
    }

    fn is_random(&self) -> bool {
        true
    }
}

thread_local! {
    // Has no `Drop`, so it is available as long as its thread runs.
    static RNG: RefCell<Drawn> = const { RefCell::new(Drawn::NONE) };
}

/// Random numbers drawn in advance, because drawing many in a row is cheaper; none is zero.
struct Drawn {
    numbers: [u64; Self::MANY],
    /// How many of them are left.
    left: usize,
    /// `None`: none was drawn yet.
    rng: Option<SmallRng>,
    /// The process that drew them; `None` if a fork cannot be detected.
    home: Option<Home>,
}

impl Drawn {
    const MANY: usize = 16;

    const NONE: Self = Self {
        numbers: [0; Self::MANY],
        left: 0,
        rng: None,
        home: None,
    };

    #[inline(always)]
    fn next(&mut self) -> u64 {
        if self.left == 0 || self.home.as_ref().is_some_and(Home::is_left) {
            self.draw();
        }
        // The remainder is in bounds, so the compiler omits the check.
        self.left = self.left.wrapping_sub(1) % Self::MANY;
        self.numbers[self.left]
    }

    #[cold]
    #[inline(never)]
    fn draw(&mut self) {
        if self.rng.is_none() || self.home.as_ref().is_some_and(Home::is_left) {
            self.home = Home::here().ok();
            self.rng = None;
        }
        // A local variable, so that the generator's state stays in registers.
        let mut rng = self.rng.take().unwrap_or_else(seeded);
        for number in &mut self.numbers {
            // Zero occurs once in 2^64 draws, and is no valid id.
            *number = match rng.next_u64() {
                0 => 1,
                number => number,
            };
        }
        self.rng = Some(rng);
        self.left = Self::MANY;
    }
}

/// A generator seeded by the system; if that fails, by the clock and an address of this thread:
/// weaker ids are better than a panic in the application.
fn seeded() -> SmallRng {
    SmallRng::try_from_rng(&mut SysRng).unwrap_or_else(|_| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        let here = &now as *const u64 as u64;
        SmallRng::seed_from_u64(now ^ here.rotate_left(32))
    })
}

impl IdGenerator for RandomIds {
    #[inline]
    fn new_trace_id(&self) -> TraceId {
        let (a, b) = RNG.with_borrow_mut(|drawn| (drawn.next(), drawn.next()));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&a.to_be_bytes());
        id[8..].copy_from_slice(&b.to_be_bytes());
        TraceId(id)
    }

    #[inline(always)]
    fn new_span_id(&self) -> SpanId {
        SpanId(RNG.with_borrow_mut(Drawn::next).to_be_bytes())
    }

    fn is_random(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_lowercase_hex_and_zero_is_invalid_tr_3() {
        let id = TraceId::from_bytes(
            *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\xfe\xff",
        );
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0dfeff");
        assert!(id.is_valid());
        assert!(!TraceId::INVALID.is_valid());
        assert_eq!(SpanId::INVALID.to_string(), "0000000000000000");
    }

    #[test]
    fn random_ids_differ_also_between_threads_tr_4() {
        let draw = || {
            let ids = |_| (RandomIds.new_trace_id(), RandomIds.new_span_id());
            (0..1000).map(ids).collect::<Vec<_>>()
        };
        let other = std::thread::spawn(draw);
        let mut all = draw();
        all.extend(other.join().unwrap_or_default());
        assert_eq!(all.iter().map(|i| i.0).collect::<HashSet<_>>().len(), 2000);
        assert_eq!(all.iter().map(|i| i.1).collect::<HashSet<_>>().len(), 2000);
    }

    #[test]
    fn ids_for_xray_begin_with_the_time() {
        let seconds = || {
            let id = XRayIds.new_trace_id().to_string();
            u64::from_str_radix(&id[..8], 16).unwrap_or_default()
        };
        let now = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.unwrap_or_default().as_secs()
        };
        let before = now();
        let found = seconds();
        assert!((before..=now()).contains(&found), "{found}");
        assert_ne!(XRayIds.new_trace_id(), XRayIds.new_trace_id());
        assert!(XRayIds.new_span_id().is_valid() && XRayIds.is_random());
    }

    #[test]
    fn unknown_flag_bits_are_left_out_w3c_4() {
        assert_eq!(TraceFlags::from_bits(0xff).bits(), 3);
        assert!(!TraceFlags::from_bits(0xff).is_debug());
    }

    #[test]
    fn debug_means_sampled_and_stays_in_the_process_b3_1() {
        let flags = TraceFlags::DEBUG.with(TraceFlags::RANDOM);
        assert!(flags.is_debug() && flags.is_sampled());
        assert_eq!(flags.bits(), 3);
        assert_eq!(TraceFlags::from_inner(flags.to_inner() | 0x80), flags);
    }

    #[test]
    fn ids_are_read_as_they_are_written_w3c_1() {
        let text = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(text.parse::<TraceId>().unwrap().to_string(), text);
        assert_eq!(format!("{:x}", text.parse::<TraceId>().unwrap()), text);
        assert_eq!("0".repeat(16).parse(), Ok(SpanId::INVALID));
        let short = &text[1..];
        for wrong in ["", short, "4BF92F3577B34DA6A3CE929D0E0E4736", "é"] {
            assert!(wrong.parse::<TraceId>().is_err(), "{wrong}");
        }
    }
}
