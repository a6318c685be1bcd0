package config

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"

	"ensync/engine/internal/nearest"
)

const (
	day = 24 * time.Hour
	// maxDuration keeps sums with points in time in range.
	maxDuration = 100 * 365 * day
)

type unit struct {
	name  string
	size  uint64
	words string // what people write for it
}

var sizeUnits = []unit{
	{name: "B", size: 1}, {name: "KiB", size: 1 << 10}, {name: "MiB", size: 1 << 20}, {name: "GiB", size: 1 << 30}, {name: "TiB", size: 1 << 40}, {name: "PiB", size: 1 << 50},
	{name: "kB", size: 1e3}, {name: "KB", size: 1e3}, {name: "MB", size: 1e6}, {name: "GB", size: 1e9}, {name: "TB", size: 1e12}, {name: "PB", size: 1e15},
}

var timeUnits = []unit{
	{"s", uint64(time.Second), "seconds"}, {"m", uint64(time.Minute), "minutes"}, {"h", uint64(time.Hour), "hours"},
	{"d", uint64(day), "days"}, {"w", uint64(7 * day), "weeks"},
}

// ParseSize reads a number of bytes with a unit, such as 10GiB or 500 MB.
func ParseSize(text string) (int64, error) {
	n, name, rest, ok := quantity(text)
	size, known := lookup(sizeUnits, name)
	hi, bytes := bits.Mul64(n, size)
	switch {
	case !ok || rest != "":
		return 0, fmt.Errorf("%q is no size; write a whole number and a unit, like 10GiB", text)
	case !known:
		return 0, fmt.Errorf("%q has no known unit; allowed are %s%s", text, names(sizeUnits), hint(sizeUnits, name))
	case hi != 0 || bytes > math.MaxInt64:
		return 0, fmt.Errorf("%q is too large; allowed are sizes below 8192PiB", text)
	}
	return int64(bytes), nil
}

// ParseDuration reads numbers with units, such as 30s, 1h30m or 30d; or 0. A day has 24 hours.
func ParseDuration(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	var sum uint64
	for rest := text; ; {
		n, name, more, ok := quantity(rest)
		if !ok {
			return 0, fmt.Errorf("%q is no time; write whole numbers and units, like 30s, 1h30m or 30d", text)
		}
		size, known := lookup(timeUnits, name)
		if !known {
			return 0, fmt.Errorf("%q has no known unit; allowed are %s%s", text, names(timeUnits), hint(timeUnits, name))
		}
		hi, part := bits.Mul64(n, size)
		if hi != 0 || part > uint64(maxDuration) || sum+part > uint64(maxDuration) {
			return 0, fmt.Errorf("%q is too long; allowed are up to %dd", text, maxDuration/day)
		}
		sum += part
		if rest = more; rest == "" {
			return time.Duration(sum), nil
		}
	}
}

// quantity splits a number and the letters after it from the rest of a text.
func quantity(text string) (n uint64, unit, rest string, ok bool) {
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	if digits == 0 || digits > 18 {
		return 0, "", "", false
	}
	for _, d := range text[:digits] {
		n = 10*n + uint64(d-'0')
	}
	after := strings.TrimLeft(text[digits:], " ")
	end := strings.IndexFunc(after, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') })
	if end < 0 {
		end = len(after)
	}
	return n, after[:end], strings.TrimLeft(after[end:], " "), true
}

func lookup(units []unit, name string) (uint64, bool) {
	for _, u := range units {
		if u.name == name {
			return u.size, true
		}
	}
	return 0, false
}

func list(units []unit) []string {
	var all []string
	for _, u := range units {
		all = append(all, u.name)
	}
	return all
}

func names(units []unit) string { return strings.Join(list(units), ", ") }

func hint(units []unit, name string) string {
	if name == "" {
		return ""
	}
	for _, u := range units { // 10G, 10gib, 30 sec, 2days
		if strings.HasPrefix(u.name, name) && len(u.name) > 1 || strings.EqualFold(u.name, name) || len(name) > 2 && strings.HasPrefix(u.words, name) {
			return "; did you mean " + u.name + "?"
		}
	}
	return nearest.Hint(name, list(units))
}
