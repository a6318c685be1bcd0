package config

import (
	"fmt"
	"strings"
	"time"
)

// Network is [network]: how much of the line to the store may be used.
type Network struct {
	Upload, Download int64 // bytes a second; 0: as the line gives
	Limits           []Limit
}

// Limit is [[network.limit]]: what holds at a time of day instead.
type Limit struct {
	From, To         time.Duration // since midnight, by the clock on the wall; To may be on the next day
	Upload, Download *int64        // nil: as at other times
}

// minRate is the slowest that makes sense: a full pack then takes hours.
const minRate = 1 << 10

// Limited reports whether anything is limited at any time.
func (n Network) Limited() bool { return n.Upload > 0 || n.Download > 0 || len(n.Limits) > 0 }

// At returns the rates of a moment. Of several limits that hold, the first one counts.
func (n Network) At(t time.Time) (upload, download int64) {
	clock := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
	upload, download = n.Upload, n.Download
	for _, l := range n.Limits {
		if in := l.From <= clock && clock < l.To; l.From < l.To && !in || l.From > l.To && clock < l.From && clock >= l.To {
			continue
		}
		if l.Upload != nil {
			upload = *l.Upload
		}
		if l.Download != nil {
			download = *l.Download
		}
		break
	}
	return upload, download
}

func (d *decoder) network(s *section) Network {
	var n Network
	if up := s.rate("upload"); up != nil {
		n.Upload = *up
	}
	if down := s.rate("download"); down != nil {
		n.Download = *down
	}
	v, ok := s.value("limit")
	tables, isList := v.([]map[string]any)
	if ok && !isList {
		s.fail("limit", "must be tables, each under a line [[network.limit]]")
	}
	for i, table := range tables {
		n.Limits = append(n.Limits, d.limit(&section{decoder: d, name: "[network.limit]", item: fmt.Sprintf(", limit %d", i+1), table: table}))
	}
	s.end()
	return n
}

func (d *decoder) limit(s *section) Limit {
	before := len(d.problems)
	l := Limit{From: s.clock("from"), To: s.clock("to"), Upload: s.rate("upload"), Download: s.rate("download")}
	s.end()
	switch {
	case len(d.problems) > before:
	case l.From == l.To:
		s.fail("to", "it ends when it begins; the rates for all times stand in [network]")
	case l.Upload == nil && l.Download == nil:
		d.fail("[%s]%s: neither upload nor download is given", s.name, s.item)
	}
	return l
}

// rate reads bytes a second; nil if there is none, 0 for no limit.
func (s *section) rate(key string) *int64 {
	v, ok := s.value(key)
	if !ok {
		return nil
	}
	text, ok := v.(string)
	if !ok {
		s.fail(key, "must be a string like %q, or %q", "2MiB/s", "none")
		return nil
	}
	var n int64
	if text == "none" {
		return &n
	}
	size, ok := strings.CutSuffix(text, "/s")
	if !ok {
		s.fail(key, "%q is no rate; write a size a second, like 2MiB/s, or none", text)
		return nil
	}
	n, err := ParseSize(size)
	switch {
	case err != nil:
		s.fail(key, "%w", err)
	case n < minRate:
		s.fail(key, "%q is too slow; allowed are 1KiB/s and more, or none", text)
	default:
		return &n
	}
	return nil
}

// clock reads a time of day.
func (s *section) clock(key string) time.Duration {
	text := s.text(key, "", "a time of day, like 08:00")
	if text == "" {
		return 0
	}
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		s.fail(key, "%q is no time of day; write hours and minutes, like 08:00", text)
		return 0
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
}
