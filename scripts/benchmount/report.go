//go:build linux

package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
)

// unit is what a job is told in.
type unit struct {
	name string
	up   bool // more is better
}

var (
	inSeconds = unit{"s", false}
	inMiB     = unit{"MiB", false}
	inMiBps   = unit{"MiB/s", true}
	perSecond = unit{"/s", true}
)

// report collects what was measured.
type report struct {
	systems []*fileSystem
	jobs    []string
	units   map[string]unit
	values  map[string]map[*fileSystem][]float64
}

func newReport(systems []*fileSystem) *report {
	return &report{systems: systems, units: map[string]unit{}, values: map[string]map[*fileSystem][]float64{}}
}

func (r *report) add(s *fileSystem, job string, u unit, value float64) {
	if r.values[job] == nil {
		r.jobs = append(r.jobs, job)
		r.units[job], r.values[job] = u, map[*fileSystem][]float64{}
	}
	r.values[job][s] = append(r.values[job][s], value)
}

// print shows a row for each job: the medians, and in brackets how many times as good ensync was, the first of the systems.
func (r *report) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\n\t\t")
	for _, s := range r.systems {
		fmt.Fprintf(w, "%s\t", s.name)
	}
	fmt.Fprintln(w)
	for _, job := range r.jobs {
		u := r.units[job]
		fmt.Fprintf(w, "%s\t%s\t", job, u.name)
		own := median(r.values[job][r.systems[0]])
		for i, s := range r.systems {
			m := median(r.values[job][s])
			switch {
			case m == 0:
				fmt.Fprint(w, "-\t")
			case i == 0:
				fmt.Fprintf(w, "%.4g\t", m)
			case u.up:
				fmt.Fprintf(w, "%.4g (%.2f)\t", m, own/m)
			default:
				fmt.Fprintf(w, "%.4g (%.2f)\t", m, m/own)
			}
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	fmt.Println("in brackets: how many times as good ensync is; 2.00 is twice the rate, or half the time")
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
