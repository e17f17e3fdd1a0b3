//! Which addresses are on the public internet, and what the others are.
//!
//! After IANA's registries of special-purpose addresses (RFC 6890 and its
//! successors). What is not known to be global is refused: a gap in the table may
//! keep an alert from going out, never let one in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// On the public internet.
    Public,
    /// In somebody's own network, or this machine: may be allowed by name.
    Internal(&'static str),
    /// Nothing that an alert goes to: may be allowed by address only.
    Special(&'static str),
}

/// Addresses at which a cloud tells a machine its secrets.
const METADATA: &[(IpAddr, &str)] = &[
    (v4(169, 254, 169, 254), "the metadata service of AWS, Azure, Google Cloud and others"),
    (v4(169, 254, 170, 2), "the credentials service of AWS ECS"),
    (v4(169, 254, 170, 23), "the credentials service of AWS EKS"),
    (v4(100, 100, 100, 200), "the metadata service of Alibaba Cloud"),
    (v4(192, 0, 0, 192), "the metadata service of Oracle Cloud"),
    (v4(168, 63, 129, 16), "Azure's service for its virtual machines"),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]), "the metadata service of AWS"),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]), "the credentials service of AWS EKS"),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]), "the metadata service of Google Cloud"),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(s: [u16; 8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]))
}

/// Network, prefix length, whether it is somebody's own, what it is.
type Row<A> = (A, u32, bool, &'static str);

const V4: &[Row<[u8; 4]>] = &[
    ([0, 0, 0, 0], 8, false, "\"this network\" (RFC 791)"),
    ([10, 0, 0, 0], 8, true, "private (RFC 1918)"),
    ([100, 64, 0, 0], 10, true, "shared by a carrier's NAT (RFC 6598)"),
    ([127, 0, 0, 0], 8, true, "loopback (RFC 1122)"),
    ([169, 254, 0, 0], 16, false, "link-local (RFC 3927)"),
    ([172, 16, 0, 0], 12, true, "private (RFC 1918)"),
    ([192, 0, 0, 0], 24, false, "for protocols (RFC 6890)"),
    ([192, 0, 2, 0], 24, false, "for documentation (RFC 5737)"),
    ([192, 31, 196, 0], 24, false, "AS112 (RFC 7535)"),
    ([192, 52, 193, 0], 24, false, "AMT (RFC 7450)"),
    ([192, 88, 99, 0], 24, false, "6to4 relays (RFC 7526)"),
    ([192, 168, 0, 0], 16, true, "private (RFC 1918)"),
    ([192, 175, 48, 0], 24, false, "AS112 (RFC 7534)"),
    ([198, 18, 0, 0], 15, false, "for benchmarks (RFC 2544)"),
    ([198, 51, 100, 0], 24, false, "for documentation (RFC 5737)"),
    ([203, 0, 113, 0], 24, false, "for documentation (RFC 5737)"),
    ([224, 0, 0, 0], 4, false, "multicast (RFC 5771)"),
    ([240, 0, 0, 0], 4, false, "reserved, or broadcast (RFC 1112, RFC 919)"),
];

const V6: &[Row<[u16; 8]>] = &[
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, true, "loopback (RFC 4291)"),
    ([0; 8], 128, false, "unspecified (RFC 4291)"),
    ([0; 8], 96, false, "an IPv4-compatible address (RFC 4291, deprecated)"),
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, false, "an IPv4-translated address (RFC 2765)"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, false, "a translator's own prefix (RFC 8215)"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, false, "discarded (RFC 6666)"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, false, "Teredo (RFC 4380)"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, false, "for protocols (RFC 2928)"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, false, "for documentation (RFC 3849)"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, false, "6to4 (RFC 3056)"),
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, false, "AS112 (RFC 7534)"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, false, "for documentation (RFC 9637)"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, true, "unique local (RFC 4193)"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, false, "link-local (RFC 4291)"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, false, "site-local (RFC 3879)"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, false, "multicast (RFC 4291)"),
];

/// NAT64's well-known prefix (RFC 6052): what follows is an IPv4 address.
const NAT64: [u16; 8] = [0x64, 0xff9b, 0, 0, 0, 0, 0, 0];

/// What an address is. One that carries an IPv4 address to where that is
/// connected to (IPv4-mapped, NAT64) is what that one is.
#[must_use]
pub fn classify(address: IpAddr) -> Class {
    let address = canonical(address);
    if let Some((_, what)) = METADATA.iter().find(|(known, _)| *known == address) {
        return Class::Special(what);
    }
    match address {
        IpAddr::V4(address) => by_table(V4, u128::from(u32::from(address)), 32, |row| {
            u128::from(u32::from_be_bytes(row))
        })
        .unwrap_or(Class::Public),
        IpAddr::V6(address) => classify_v6(address),
    }
}

fn classify_v6(address: Ipv6Addr) -> Class {
    let bits = u128::from(address);
    if let Some(class) = by_table(V6, bits, 128, |row| u128::from(Ipv6Addr::from(row))) {
        return class;
    }
    if bits >> 32 == u128::from(Ipv6Addr::from(NAT64)) >> 32 {
        let embedded = Ipv4Addr::from((bits & 0xffff_ffff) as u32);
        return match classify(embedded.into()) {
            Class::Public => Class::Public,
            // Not by name: who says that a translator may reach it?
            Class::Internal(_) | Class::Special(_) => {
                Class::Special("NAT64 (RFC 6052) of an address that is not public")
            }
        };
    }
    let [.., five, six, _, _] = address.segments();
    if five & 0xfdff == 0 && six == 0x5efe {
        return Class::Special("ISATAP, an IPv4 tunnel (RFC 5214)");
    }
    if bits >> 125 == 1 { Class::Public } else { Class::Special("not global unicast (RFC 4291)") }
}

/// The IPv4 address that is connected to for an IPv4-mapped one (RFC 4291).
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Whether `address` lies in the network of that prefix length; both of `width` bits.
pub(super) fn within(address: u128, network: u128, prefix: u32, width: u32) -> bool {
    let host_bits = width - prefix.min(width);
    // A shift by all 128 bits is no shift in Rust.
    host_bits >= 128 || address >> host_bits == network >> host_bits
}

fn by_table<A: Copy>(
    table: &[Row<A>],
    address: u128,
    width: u32,
    bits: impl Fn(A) -> u128,
) -> Option<Class> {
    let row = table.iter().find(|(net, prefix, ..)| within(address, bits(*net), *prefix, width));
    row.map(|(_, _, own, what)| if *own { Class::Internal(what) } else { Class::Special(what) })
}
