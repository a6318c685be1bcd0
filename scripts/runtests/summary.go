package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is a line of go test -json (go doc test2json) or of go build -json within it.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Elapsed    float64
	Output     string
}

// summary gathers the events of any number of runs. A test with subtests counts by its subtests.
type summary struct {
	out     io.Writer
	tests   map[string]*test    // of the packages that are under way: "package\x00test"
	build   map[string][]string // output of the compiler by package
	passed  int
	ran     int // packages that had tests
	cached  int
	skips   []string
	fails   []string // in full
	broken  []string // what failed outside of tests
	counted map[string]int
}

type test struct {
	output  []string
	parent  bool
	failing bool // a subtest failed
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, tests: map[string]*test{}, build: map[string][]string{}, counted: map[string]int{}}
}

func (s *summary) failed() int { return len(s.fails) + len(s.broken) }

// read takes the events of one run.
func (s *summary) read(r io.Reader) error {
	return lines(r, func(line []byte) error {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			fmt.Fprintf(s.out, "%s", line) // not an event: go itself has something to say
			return nil
		}
		s.take(e)
		return nil
	})
}

func (s *summary) take(e event) {
	switch e.Action {
	case "build-output":
		s.build[e.ImportPath] = append(s.build[e.ImportPath], e.Output)
	case "build-fail":
		s.broken = append(s.broken, "build "+e.ImportPath+"\n"+strings.Join(s.build[e.ImportPath], ""))
	case "run":
		s.test(e.Package, e.Test)
		if up := parent(e.Test); up != "" {
			s.test(e.Package, up).parent = true
		}
	case "output":
		if e.Test == "" && strings.Contains(e.Output, "(cached)") {
			s.cached++
		}
		t := s.test(e.Package, e.Test)
		t.output = append(t.output, e.Output)
	case "pass", "skip", "fail":
		if e.Test == "" {
			s.endPackage(e)
		} else {
			s.endTest(e)
		}
	}
}

func (s *summary) test(pkg, name string) *test {
	key := pkg + "\x00" + name
	t := s.tests[key]
	if t == nil {
		t = &test{}
		s.tests[key] = t
	}
	return t
}

func parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}

func (s *summary) endTest(e event) {
	t := s.test(e.Package, e.Test)
	switch {
	case e.Action == "fail":
		if up := parent(e.Test); up != "" {
			s.test(e.Package, up).failing = true
		}
		if said := clean(t.output); !t.failing || said != "" {
			s.fails = append(s.fails, e.Package+" "+e.Test+"\n"+said)
		}
		s.test(e.Package, "").failing = true
	case t.parent:
		return
	case e.Action == "skip":
		s.skips = append(s.skips, e.Package+" "+e.Test+": "+strings.TrimSpace(clean(t.output)))
	default:
		s.passed++
	}
	s.counted[e.Package]++
}

// endPackage prints the package's line. A package can fail without a failed test: by a panic, a time-out, os.Exit.
func (s *summary) endPackage(e event) {
	t := s.test(e.Package, "")
	n := s.counted[e.Package]
	if e.Action == "fail" && !t.failing && !s.buildFailed(e.Package) {
		s.broken = append(s.broken, e.Package+"\n"+s.everything(e.Package))
	}
	if e.Action == "fail" || n > 0 {
		s.ran++
		fmt.Fprintf(s.out, "%-5s %-36s %6.1f s  %4d tests\n", e.Action, e.Package, e.Elapsed, n)
	}
	delete(s.counted, e.Package)
	for key := range s.tests {
		if strings.HasPrefix(key, e.Package+"\x00") {
			delete(s.tests, key)
		}
	}
}

func (s *summary) buildFailed(pkg string) bool {
	return slices.ContainsFunc(s.broken, func(b string) bool {
		return strings.HasPrefix(b, "build "+pkg+"\n") || strings.HasPrefix(b, "build "+pkg+" [") || strings.HasPrefix(b, "build "+pkg+"_test")
	})
}

// everything is the output of a package's unfinished tests and of the package itself.
func (s *summary) everything(pkg string) string {
	var all []string
	for key, t := range s.tests {
		if strings.HasPrefix(key, pkg+"\x00") {
			all = append(all, clean(t.output))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

// clean leaves out what the frame of a test prints by itself.
func clean(output []string) string {
	var b strings.Builder
	for _, line := range output {
		text := strings.TrimSpace(line)
		frame := strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- ") ||
			text == "PASS" || text == "FAIL" || strings.HasPrefix(text, "FAIL\t") || strings.HasPrefix(text, "exit status ")
		if !frame {
			b.WriteString(line)
		}
	}
	return b.String()
}

// report prints what failed and was skipped, and the last line. It returns whether all is well.
func (s *summary) report(took time.Duration) bool {
	for _, f := range slices.Concat(s.fails, s.broken) {
		fmt.Fprintf(s.out, "\nFAILED %s\n", strings.TrimRight(f, "\n"))
	}
	if len(s.skips) > 0 {
		fmt.Fprintln(s.out)
	}
	for _, k := range s.skips {
		fmt.Fprintln(s.out, "skipped", strings.Join(strings.Fields(k), " "))
	}
	well := s.failed() == 0 && s.passed > 0
	verdict := "PASS"
	if !well {
		verdict = "FAIL"
	}
	if s.passed+s.failed() == 0 {
		verdict = "FAIL (nothing was run)"
	}
	fmt.Fprintf(s.out, "\n%s: %d passed, %d failed, %d skipped, in %d packages (%d unchanged since their last run), %.0f s\n",
		verdict, s.passed, s.failed(), len(s.skips), s.ran, s.cached, took.Seconds())
	return well
}
