package main

import (
	"strings"
	"testing"
	"time"
)

// Each line of a case is "action package [test]", then "|" and the output, if any.
func events(t *testing.T, s *summary, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		head, out, _ := strings.Cut(strings.TrimSpace(line), "|")
		f := append(strings.Fields(head), "", "")
		e := event{Action: f[0], Package: f[1], Test: f[2]}
		if out != "" {
			e.Output = out + "\n"
		}
		if strings.HasPrefix(f[0], "build-") {
			e.ImportPath = strings.ReplaceAll(f[1], "_", " ")
		}
		s.take(e)
	}
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		name, events, says, last string
	}{
		{"all well", "run p A\npass p A\nrun p B\nrun p B/x\nrun p B/y\npass p B/x\npass p B/y\npass p B\npass p",
			"pass  p ", "PASS: 3 passed, 0 failed, 0 skipped, in 1 packages"},
		{"nothing run", "skip p", "", "FAIL (nothing was run): 0 passed"},
		{"a failed subtest is one failure", "run p A\nrun p A/x\noutput p A/x|    a_test.go:1: broken\nfail p A/x\nfail p A\nfail p",
			"FAILED p A/x\n    a_test.go:1: broken", "FAIL: 0 passed, 1 failed"},
		{"a parent that has a say", "run p A\nrun p A/x\nfail p A/x\noutput p A|    a_test.go:9: left over\nfail p A\nfail p",
			"FAILED p A\n    a_test.go:9: left over", "FAIL: 0 passed, 2 failed"},
		{"a skip has its reason", "run p A\npass p A\nrun p B\noutput p B|    b_test.go:3: needs root\nskip p B\npass p",
			"skipped p B: b_test.go:3: needs root", "PASS: 1 passed, 0 failed, 1 skipped"},
		{"a panic has no failed test", "run p A\noutput p A|panic: at the disco\nfail p",
			"panic: at the disco", "FAIL: 0 passed, 1 failed"},
		{"a package that does not build", "build-output p_[p.test]|p.go:1: undefined: x\nbuild-fail p_[p.test]\nfail p",
			"p.go:1: undefined: x", "FAIL: 0 passed, 1 failed"},
		{"an unchanged package", "run p A\npass p A\noutput p |ok  \tp\t(cached)\npass p", "",
			"PASS: 1 passed, 0 failed, 0 skipped, in 1 packages (1 unchanged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b strings.Builder
			s := newSummary(&b)
			events(t, s, c.events)
			well := s.report(time.Second)
			text := b.String()
			last := text[strings.LastIndexByte(strings.TrimRight(text, "\n"), '\n')+1:]
			if !strings.HasPrefix(last, c.last) || !strings.Contains(text, c.says) {
				t.Errorf("got\n%swant %q and last %q", text, c.says, c.last)
			}
			if well != strings.HasPrefix(c.last, "PASS") {
				t.Errorf("well: %v", well)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	got := split([]string{"./...", "--", "-race", "./store/..."})
	if len(got) != 2 || len(got[0]) != 1 || len(got[1]) != 2 {
		t.Errorf("got %v", got)
	}
}
