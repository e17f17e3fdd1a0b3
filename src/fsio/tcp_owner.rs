//! Whose a TCP connection on this machine is: the kernel knows the user of the socket
//! at its other end, and tells whoever asks (`NETLINK_SOCK_DIAG`, see sock_diag(7)).
//!
//! Asked for is one socket by both its addresses, in this network namespace. What
//! cannot be told for certain is not told: a socket that its process has closed, or one
//! that merely waits at that port, has no owner here, though the kernel's answer would
//! say 0, which is root.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto, socket_with,
};

/// `SOCK_DIAG_BY_FAMILY`, the kind of the request and of its answer.
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_sockid`.
const ID_BYTES: usize = 48;
/// The header, `struct inet_diag_req_v2` up to the addresses, the addresses.
const REQUEST_BYTES: usize = HEADER_BYTES + 8 + ID_BYTES;
const IPPROTO_TCP: u8 = 6;
/// Between the answer's header and the addresses: family, state, timer, retransmissions.
const BEFORE_ID: usize = 4;
/// In `struct inet_diag_msg`, behind the addresses: expires, rqueue, wqueue.
const BEFORE_UID: usize = 12;

/// The states of a connected socket of a process, `TCP_*`: ESTABLISHED, FIN_WAIT1,
/// FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING. Not SYN_SENT: that one has not got
/// through to anybody yet. Not LISTEN: that is not this connection.
const CONNECTED: [u8; 6] = [1, 4, 5, 8, 9, 11];

/// The user whose socket is at `peer` and is connected to `local`, both as the
/// accepting side sees them; `None` when there is none that a process still holds.
///
/// The socket found is the peer's own as long as the connection lives: ask for the
/// peer's address again afterwards, and believe this only if that works.
///
/// # Errors
/// When the kernel cannot be asked, or does not answer.
pub fn of_peer(local: SocketAddr, peer: SocketAddr) -> io::Result<Option<u32>> {
    let (Some(theirs), Some(ours)) = (Address::of(peer), Address::of(local)) else {
        return Ok(None);
    };
    if theirs.family != ours.family {
        return Ok(None);
    }
    // What is `local` to the peer's socket is its own address.
    let id = id(&theirs, &ours);
    let request = request(theirs.family, &id);
    let flags = SocketFlags::CLOEXEC;
    let kernel = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))?;
    sendto(&kernel, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    loop {
        let mut answer = [0; 1024];
        // It has answered before `sendto` came back; nothing is waited for.
        let (_, length, from) = recvfrom(&kernel, &mut answer[..], RecvFlags::DONTWAIT)?;
        let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
        // Other programs may write to this socket, too.
        if from.is_some_and(|from| from.pid() == 0) {
            return owner(answer.get(..length).unwrap_or(&answer), theirs.family, &id);
        }
    }
}

/// An address as the kernel has it: of IPv4 also where it came mapped into IPv6.
struct Address {
    family: u8,
    ip: [u8; 16],
    port: u16,
}

impl Address {
    fn of(address: SocketAddr) -> Option<Self> {
        let mut ip = [0; 16];
        let family = match address.ip().to_canonical() {
            IpAddr::V4(v4) => {
                ip[..4].copy_from_slice(&v4.octets());
                AddressFamily::INET
            }
            IpAddr::V6(v6) => {
                ip = v6.octets();
                AddressFamily::INET6
            }
        };
        Some(Self { family: u8::try_from(family.as_raw()).ok()?, ip, port: address.port() })
    }
}

/// `struct inet_diag_sockid` without its last 12 bytes: any interface, no cookie.
type Id = [u8; ID_BYTES - 12];

fn id(source: &Address, destination: &Address) -> Id {
    let mut id = [0; ID_BYTES - 12];
    id[0..2].copy_from_slice(&source.port.to_be_bytes());
    id[2..4].copy_from_slice(&destination.port.to_be_bytes());
    id[4..20].copy_from_slice(&source.ip);
    id[20..36].copy_from_slice(&destination.ip);
    id
}

fn request(family: u8, id: &Id) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    request[0..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    request[16] = family;
    request[17] = IPPROTO_TCP;
    // In whatever state it is.
    request[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
    request[24..60].copy_from_slice(id);
    // INET_DIAG_NOCOOKIE.
    request[64..72].copy_from_slice(&[0xff; 8]);
    request
}

/// The same with its IPv4 addresses as IPv6 ones.
fn mapped(id: &Id) -> Id {
    let mut mapped = *id;
    for at in [4, 20] {
        mapped[at..at + 12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        mapped[at + 12..at + 16].copy_from_slice(&id[at..at + 4]);
    }
    mapped
}

/// What the kernel's answer says of the owner of the socket asked for.
fn owner(answer: &[u8], family: u8, id: &Id) -> io::Result<Option<u32>> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "a short answer of the kernel's");
    let bytes = |from: usize, count: usize| answer.get(from..from + count).ok_or_else(short);
    let number = |from| {
        bytes(from, 4).map(|bytes| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let kind = bytes(4, 2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]))?;
    if kind == ERROR {
        let errno = number(HEADER_BYTES)?.cast_signed().wrapping_neg();
        let error = io::Error::from_raw_os_error(errno);
        return if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) };
    }
    if kind != BY_FAMILY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "another answer of the kernel's"));
    }
    let state = bytes(HEADER_BYTES + 1, 1)?[0];
    let id_at = HEADER_BYTES + BEFORE_ID;
    let same = bytes(id_at, id.len())?;
    // A socket of IPv6 that speaks IPv4 tells its addresses as one of IPv6.
    let same = if bytes(HEADER_BYTES, 1)?[0] == family { same == id } else { same == mapped(id) };
    let uid_at = id_at + ID_BYTES + BEFORE_UID;
    let (uid, inode) = (number(uid_at)?, number(uid_at + 4)?);
    // No process holds a socket that has no inode.
    Ok((same && CONNECTED.contains(&state) && inode != 0).then_some(uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    fn pair(listen: &str, connect: &str) -> Option<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind(listen).ok()?;
        let port = listener.local_addr().expect("bound").port();
        let client = TcpStream::connect((connect, port)).expect("connected");
        Some((client, listener.accept().expect("accepted").0))
    }

    fn asked(ours: &TcpStream) -> Option<u32> {
        let peer = ours.peer_addr().expect("connected");
        of_peer(ours.local_addr().expect("connected"), peer).expect("the kernel answers")
    }

    fn me() -> Option<u32> {
        Some(rustix::process::geteuid().as_raw())
    }

    #[test]
    fn the_owner_of_the_other_end_is_known_over_ipv4_ipv6_and_one_in_the_other() {
        let (_client, ours) = pair("127.0.0.1:0", "127.0.0.1").expect("IPv4");
        assert_eq!(asked(&ours), me());
        // An IPv4 client of a socket for both; its address comes as ::ffff:127.0.0.1.
        for (listen, connect) in [("[::]:0", "127.0.0.1"), ("[::1]:0", "::1")] {
            let Some((_client, ours)) = pair(listen, connect) else { continue };
            assert_eq!(asked(&ours), me(), "{listen}");
        }
        // And an IPv6 socket that has connected to an IPv4 one.
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        if let Ok(_client) = TcpStream::connect(("::ffff:127.0.0.1", port)) {
            assert_eq!(asked(&listener.accept().expect("accepted").0), me());
        }
    }

    #[test]
    fn a_peer_that_has_said_everything_is_known_and_one_that_has_gone_is_not_root() {
        let (client, ours) = pair("127.0.0.1:0", "127.0.0.1").expect("IPv4");
        client.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(asked(&ours), me());
        drop(client);
        assert_eq!(asked(&ours), None, "nobody holds it any more");
        // Nor after this side has said that it will not send either.
        ours.shutdown(Shutdown::Write).expect("half closed");
        let (local, peer) = (ours.local_addr().expect("local"), ours.peer_addr());
        if let Ok(peer) = peer {
            assert_eq!(of_peer(local, peer).expect("answered"), None);
        }
    }

    #[test]
    fn who_listens_at_the_port_or_is_about_to_connect_is_not_who_is_connected() {
        let (client, ours) = pair("127.0.0.1:0", "127.0.0.1").expect("IPv4");
        let (local, peer) = (ours.local_addr().expect("l"), ours.peer_addr().expect("p"));
        drop((client, ours));
        let Ok(_listener) = TcpListener::bind(peer) else { return };
        assert_eq!(of_peer(local, peer).expect("answered"), None);
    }

    #[test]
    fn the_other_end_is_meant_and_not_this_one() {
        let (mut client, ours) = pair("127.0.0.1:0", "127.0.0.1").expect("IPv4");
        client.write_all(b"x").expect("sent");
        let (local, peer) = (ours.local_addr().expect("l"), ours.peer_addr().expect("p"));
        let (theirs, of_ours) = (Address::of(peer).expect("an address"), Address::of(local));
        let of_ours = of_ours.expect("an address");
        assert_eq!(id(&theirs, &of_ours)[0..2], peer.port().to_be_bytes());
    }

    /// An answer of the kernel's in this state, of this user, with this inode.
    fn answer(id: &[u8], state: u8, uid: u32, inode: u32) -> Vec<u8> {
        let mut answer = vec![0; HEADER_BYTES + 72];
        answer[16] = 2;
        answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        answer[17] = state;
        answer[20..20 + id.len()].copy_from_slice(id);
        answer[80..84].copy_from_slice(&uid.to_ne_bytes());
        answer[84..88].copy_from_slice(&inode.to_ne_bytes());
        answer
    }

    #[test]
    fn only_a_connected_socket_that_a_process_holds_has_an_owner() {
        let id = [7; ID_BYTES - 12];
        for state in 0..=13 {
            let owned = matches!(state, 1 | 4 | 5 | 8 | 9 | 11);
            let found = owner(&answer(&id, state, 1_000, 9), 2, &id).expect("an answer");
            assert_eq!(found, owned.then_some(1_000), "state {state}");
            assert_eq!(owner(&answer(&id, state, 0, 0), 2, &id).expect("an answer"), None);
        }
        assert_eq!(owner(&answer(&[8; ID_BYTES - 12], 1, 0, 9), 2, &id).expect("another's"), None);
        let told_as_ipv6 = |id: &Id| {
            let mut answer = answer(id, 1, 1_000, 9);
            answer[16] = 10;
            owner(&answer, 2, &[7; ID_BYTES - 12]).expect("an answer")
        };
        assert_eq!(told_as_ipv6(&mapped(&id)), Some(1_000));
        assert_eq!(told_as_ipv6(&id), None);
        let whole = answer(&id, 1, 0, 9);
        for length in 0..whole.len() {
            assert!(owner(&whole[..length], 2, &id).is_err(), "cut to {length} bytes");
        }
        let mut refused = vec![0; HEADER_BYTES + 4];
        refused[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        for (errno, expected) in [(2_i32, Some(None)), (1, None), (13, None)] {
            refused[16..20].copy_from_slice(&(-errno).to_ne_bytes());
            assert_eq!(owner(&refused, 2, &id).ok(), expected, "{errno}");
        }
    }
}
