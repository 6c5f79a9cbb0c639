//! Where brokers listen: `HOST:PORT`, and what a name resolves to.

use std::fmt;
use std::net::SocketAddr;

use tokio::net::lookup_host;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Kafka's port, where none is given.
const DEFAULT_PORT: u16 = 9092;

impl Address {
    /// Parses the addresses of `bootstrap.servers`, of the form `[PROTOCOL://]HOST[:PORT]`; those that are not valid are left out, since
    /// the settings have checked them.
    pub(super) fn parse_list(servers: &str) -> Vec<Address> {
        servers
            .split(',')
            .filter_map(|server| Address::parse(server.trim()))
            .collect()
    }

    fn parse(server: &str) -> Option<Address> {
        let address = server
            .split_once("://")
            .map_or(server, |(_, address)| address);
        // The colons of an IPv6 address are within brackets.
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (address, DEFAULT_PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then(|| Address {
            host: host.to_owned(),
            port,
        })
    }

    /// Resolves the name to all of its addresses that the family permits.
    pub(super) async fn resolve(&self, family: Family) -> std::io::Result<Vec<SocketAddr>> {
        let found = lookup_host((self.host.as_str(), self.port)).await?;
        let mut addresses = Vec::new();
        for address in found.filter(|address| family.permits(address)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// Which IP addresses are used: `broker.address.family`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Any,
    V4,
    V6,
}

impl Family {
    fn permits(self, address: &SocketAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_addresses_are_parsed() {
        let parsed = Address::parse_list("a:1, SASL_SSL://b ,[::1]:9093,[fe80::1],c:9,,");
        let shown: Vec<String> = parsed.iter().map(Address::to_string).collect();
        let expected = ["a:1", "b:9092", "[::1]:9093", "[fe80::1]:9092", "c:9"];
        assert_eq!(shown, expected);
        assert_eq!(Address::parse_list("a:b, :1"), []);
    }

    #[tokio::test]
    async fn families_select_addresses() {
        let local = Address {
            host: "127.0.0.1".to_owned(),
            port: 7,
        };
        assert_eq!(local.resolve(Family::Any).await.unwrap().len(), 1);
        assert_eq!(local.resolve(Family::V4).await.unwrap().len(), 1);
        assert_eq!(local.resolve(Family::V6).await.unwrap(), []);
    }
}
