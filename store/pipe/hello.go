package pipe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	helloWord = "ensync-server"
	// maxNoise bounds what may come before the server's hello, in bytes: greetings of a login shell.
	maxNoise = 64 << 10
	maxLine  = 256
)

// errNoHello says that whoever answers is no server of ours.
var errNoHello = errors.New("no ensync server answers")

// Hello is what a server says of itself.
type Hello struct {
	Lowest, Highest int    // versions of the protocol
	Program         string // version of the program
}

// hello is this program's.
func hello(program string) Hello { return Hello{lowest, highest, cleanWord(program)} }

// line starts with a newline, to end what somebody else may have left unfinished.
func (h Hello) line() string {
	return fmt.Sprintf("\n%s %d %d %s\n", helloWord, h.Lowest, h.Highest, h.Program)
}

// ParseHello reads a server's first line, without its newline.
func ParseHello(line string) (Hello, bool) {
	words := strings.Split(strings.TrimSuffix(line, "\r"), " ")
	if len(line) > maxLine || len(words) != 4 || words[0] != helloWord {
		return Hello{}, false
	}
	low, err1 := strconv.ParseUint(words[1], 10, 16)
	high, err2 := strconv.ParseUint(words[2], 10, 16)
	if err1 != nil || err2 != nil || low < 1 || high < low || words[3] != cleanWord(words[3]) {
		return Hello{}, false
	}
	return Hello{int(low), int(high), words[3]}, true
}

// check says why this program can't speak with that server.
func (h Hello) check() error {
	switch {
	case h.Lowest > highest:
		return final{fmt.Errorf("the server (ensync %s) speaks only newer versions of the protocol; update ensync on this machine", h.Program)}
	case h.Highest < lowest:
		return final{fmt.Errorf("the server (ensync %s) speaks only older versions of the protocol; update ensync there", h.Program)}
	}
	return nil
}

// readHello skips what comes before the server's first line, and reads it.
func readHello(r *bufio.Reader) (Hello, error) {
	noise := ""
	for read := 0; read < maxNoise; {
		line, err := r.ReadSlice('\n')
		read += len(line)
		if h, ok := ParseHello(strings.TrimSuffix(string(line), "\n")); ok && err == nil {
			return h, h.check()
		}
		if noise == "" {
			noise = printable(string(line))
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull): // a long line is noise, too
		case errors.Is(err, io.EOF):
			return Hello{}, fmt.Errorf("%w%s", errNoHello, quoted(noise))
		case err != nil:
			return Hello{}, fmt.Errorf("%w%s: %w", errNoHello, quoted(noise), err)
		}
	}
	return Hello{}, fmt.Errorf("%w%s", errNoHello, quoted(noise))
}

func quoted(noise string) string {
	if noise == "" {
		return ""
	}
	return fmt.Sprintf(", but something that says %.100q", noise)
}

// cleanWord makes text one word of printable ASCII.
func cleanWord(text string) string {
	word := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, text)
	if word == "" {
		return "unknown"
	}
	return word[:min(len(word), 100)]
}
