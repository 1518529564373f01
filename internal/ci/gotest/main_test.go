package main

import (
	"strings"
	"testing"
)

const events = `{"Action":"start","Package":"x/a"}
{"Action":"run","Package":"x/a","Test":"TestGood"}
{"Action":"output","Package":"x/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"x/a","Test":"TestGood","Output":"    a_test.go:1: chatter\n"}
{"Action":"pass","Package":"x/a","Test":"TestGood","Elapsed":0}
{"Action":"output","Package":"x/a","Test":"TestOld/ejabberd","Output":"=== RUN   TestOld/ejabberd\n"}
{"Action":"output","Package":"x/a","Test":"TestOld/ejabberd","Output":"    a_test.go:7: lacks: moderation (ejabberd 23.01)\n"}
{"Action":"output","Package":"x/a","Test":"TestOld/ejabberd","Output":"    --- SKIP: TestOld/ejabberd (0.00s)\n"}
{"Action":"skip","Package":"x/a","Test":"TestOld/ejabberd","Elapsed":0}
{"Action":"output","Package":"x/a","Output":"PASS\n"}
{"Action":"output","Package":"x/a","Output":"ok  \tx/a\t0.001s\n"}
{"Action":"pass","Package":"x/a","Elapsed":0.001}
{"ImportPath":"x/c","Action":"build-output","Output":"c.go:1:1: syntax error\n"}
{"Action":"output","Package":"x/b","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"x/b","Test":"TestBad","Output":"    b_test.go:3: oh no\n"}
{"Action":"fail","Package":"x/b","Test":"TestBad","Elapsed":0}
{"Action":"output","Package":"x/b","Test":"TestLazy","Output":"    b_test.go:7: later\n"}
{"Action":"skip","Package":"x/b","Test":"TestLazy","Elapsed":0}
{"Action":"output","Package":"x/b","Test":"TestCrash","Output":"panic: oops\n"}
{"Action":"output","Package":"x/b","Output":"FAIL\tx/b\t0.001s\n"}
{"Action":"fail","Package":"x/b","Elapsed":0.001}
`

const want = `ok  	x/a	0.001s
c.go:1:1: syntax error
    b_test.go:3: oh no
FAIL	x/b	0.001s
panic: oops

1 tests passed, 1 failed, 2 skipped
skipped, NOT ALLOWED: later
	b.TestLazy
skipped, lacks: moderation (ejabberd 23.01)
	a.TestOld/ejabberd
FAILED: x/b TestBad
FAILED: 1 tests were skipped for another reason than what a server lacks
`

func TestReport(t *testing.T) {
	var b strings.Builder
	r := newReport(&b)
	if err := r.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if wrong := r.summary(); wrong != 1 {
		t.Errorf("%d wrong skips, want 1", wrong)
	}
	if got := b.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
