package main

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestTour(t *testing.T) {
	if err := run(context.Background(), options{messages: 400, patience: time.Minute}); err != nil {
		t.Fatal(err)
	}
}

// TestBroken takes the server away under each step: the tour says which step
// failed.
func TestBroken(t *testing.T) {
	for _, name := range []string{"sign-in", "contacts", "messages", "network cut", "restart"} {
		t.Run(name, func(t *testing.T) {
			err := run(context.Background(), options{messages: 100, patience: 3 * time.Second, before: func(tr *tour, step string) {
				if step == name {
					tr.srv.Stop()
				}
			}})
			if err == nil || !strings.Contains(err.Error(), "("+name+") failed") {
				t.Fatalf("got %v", err)
			}
		})
	}
}
