package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"ensync/engine"
	"ensync/engine/replica"
	"ensync/store/object"
)

// timeText is how times are shown everywhere (reference 1.6).
func timeText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") }

// sizeText is how sizes are shown in the log.
func sizeText(n int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"}
	u := 0
	for ; n > 10_000; u++ {
		n /= 1024
	}
	return fmt.Sprintf("%d %s", n, units[u])
}

// dataText says what an entry is.
func dataText(e *replica.Entry) string {
	if e == nil {
		return "nothing"
	}
	text := kindText(e)
	if e.User != "" || e.Group != "" {
		text += ", owner " + printable(e.User.String()+":"+e.Group.String())
	}
	if names := e.Xattrs.Names(); len(names) > 0 {
		text += ", attributes " + printable(strings.Join(names, " "))
	}
	return text
}

func kindText(e *replica.Entry) string {
	switch {
	case e.Kind == object.Directory:
		return fmt.Sprintf("directory, mode %04o", e.Mode)
	case e.Kind == object.File:
		return fmt.Sprintf("regular file, mode %04o, size %s, modified %s", e.Mode, sizeText(e.Content.Size),
			timeText(time.Unix(0, e.ModTime)))
	case e.Kind == object.Symlink:
		return "symlink to " + printable(e.Target)
	}
	return e.Kind.String()
}

// countsText says what changed on one side.
func countsText(c engine.Counts) string {
	return fmt.Sprintf("+%d *%d -%d %s", c.Created, c.Updated, c.Deleted, sizeText(c.Bytes))
}

// printable keeps a name from commanding the terminal. Names come from other machines.
func printable(name string) string {
	clean := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if strings.IndexFunc(name, clean) < 0 {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) {
			for _, c := range []byte(name[i : i+n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		} else {
			b.WriteString(name[i : i+n])
		}
		i += n
	}
	return b.String()
}

// plural is "1 entry" or "2 entries".
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
