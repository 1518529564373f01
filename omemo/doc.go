// Package omemo encrypts messages from end to end (XEP-0384), in both versions of OMEMO
// that are deployed. It is put on a session like any other feature; chats and rooms then
// send and read encrypted messages as they do others.
package omemo
