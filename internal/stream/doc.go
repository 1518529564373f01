// Package stream is the reading half of an XMPP stream: bytes in, whole
// [confab.Element] values out.
//
// A [Reader] reads the header of a stream with [Reader.Open] and then one
// top-level child after the other with [Reader.Next]. [Parse] does the same for
// one document, as in a WebSocket frame. What comes out is decoded once and
// shares no memory with anything else, so that it can be kept, passed on and
// collected on its own.
//
// # What is accepted
//
// XML 1.0 (fifth edition) with Namespaces in XML 1.0 (third edition), in UTF-8,
// less what RFC 6120 §11.1 forbids: comments, processing instructions, document
// types and references to entities other than the five predefined ones. All
// else that XML allows is understood (CDATA sections, character references,
// either kind of quote, any white space) and all that it does not allow is
// refused, with a [SyntaxError]. A byte order mark is refused. What is over one
// of the [Limits] is refused with a [LimitError].
//
// The one leniency: [Reader.Open] skips white space before an XML declaration,
// since after a restart that may be a keep-alive of the stream before it.
//
// # How it works
//
// The scanner (scan.go) finds the tags of a stanza in the read buffer and notes
// where they are. It stops wherever the bytes end and goes on from there, so
// that a stanza costs the same however it is cut. When the stanza is whole, its
// characters are checked and references are resolved in place (chars.go), it is
// copied once into a string, and the elements are made, all names and values
// being parts of that string (build.go).
package stream
