package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"fmt"
	"net"
	"strings"
	"time"
)

// registerAccount makes an account in-band (XEP-0077), on a stream of its own
// before anybody signs in. A package for this, with forms and CAPTCHAs, is still
// to come.
func registerAccount(ctx context.Context, addr, domain string, roots *x509.CertPool, user, password string) error {
	d := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: domain, NextProtos: []string{"xmpp-client"}}}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	} else {
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	}
	dec := xml.NewDecoder(conn)
	if err := send(conn, "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='%s'>", domain); err != nil {
		return err
	}
	if err := until(dec, "features"); err != nil {
		return err
	}
	err = send(conn, "<iq type='set' id='reg1'><query xmlns='jabber:iq:register'><username>%s</username><password>%s</password></query></iq>", user, password)
	if err != nil {
		return err
	}
	for {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("register: %w", err)
		}
		start, ok := tok.(xml.StartElement)
		if !ok || start.Name.Local != "iq" {
			continue
		}
		for _, a := range start.Attr {
			if a.Name.Local == "type" && a.Value != "result" {
				return fmt.Errorf("register: the server refused the account %s", user)
			}
		}
		return send(conn, "</stream:stream>")
	}
}

func send(conn net.Conn, format string, args ...any) error {
	for i, a := range args {
		var b strings.Builder
		if err := xml.EscapeText(&b, []byte(fmt.Sprint(a))); err != nil {
			return err
		}
		args[i] = b.String()
	}
	_, err := fmt.Fprintf(conn, format, args...)
	return err
}

// until reads to the end of the first element with this name.
func until(dec *xml.Decoder, name string) error {
	for {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("register: %w", err)
		}
		if end, ok := tok.(xml.EndElement); ok && end.Name.Local == name {
			return nil
		}
	}
}
