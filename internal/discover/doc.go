// Package discover finds the way from an account's domain to a connection that
// is ready to be used.
//
// It does so in two steps, so that a caller can show or change what was found
// in between:
//
//   - [Config.Targets] lists the places to try, in order: SRV records for
//     STARTTLS and direct TLS mixed as XEP-0368 wants it, or the override, or
//     the domain's own well-known ports. [Config.WebSockets] lists the
//     WebSocket endpoints of the domain's host-meta file (XEP-0156).
//   - [Race] tries them, several at a time but with a head start for the
//     earlier ones, over IPv4 and IPv6. The first that connects and passes the
//     caller's own check (TLS, the stream header) wins.
//
// What fails is never lost: an [Error] names every attempt and its reason.
//
// # Names and privacy
//
// With a proxy or a dial function set, nothing is looked up in the local DNS,
// neither SRV nor addresses: host names are handed to the proxy. Only a
// Resolver that the caller gave explicitly is ever asked then. Names under
// .onion are never looked up at all.
//
// SRV answers are not authenticated, so a target's name says nothing about who
// answers there: TLS is always verified against the account's domain, see
// [ASCII], and never against Target.Host. WebSocket endpoints differ: their
// addresses come over verified HTTPS, so the name in the URL may be the one
// that is verified.
package discover
