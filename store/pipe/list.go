package pipe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"ensync/store/backend"
)

// A listing is a line for each object and a last line ".", or "!KIND TEXT" if it could not be finished.
const (
	listEnd     = "."
	listFailed  = "!"
	maxListLine = backend.MaxName + maxText + 100
)

func appendInfo(b []byte, i backend.Info) []byte {
	return fmt.Appendf(b, "%s %d %d\n", i.Name, i.Size, i.ModTime.UnixNano())
}

// errCut says that an answer ends before its end, or makes no sense.
var errCut = errors.New("the answer is incomplete or damaged")

// readList calls fn for each object of a listing, if names go up from after and start with prefix as they must. An
// error of fn is returned as stopped.
func readList(r io.Reader, prefix, after string, fn func(backend.Info) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4<<10), maxListLine)
	for lines.Scan() {
		line := lines.Text()
		if line == listEnd {
			return nil
		}
		if failure, ok := strings.CutPrefix(line, listFailed); ok {
			word, text, _ := strings.Cut(failure, " ")
			for _, k := range kinds {
				if k.word == word {
					return &refusal{k.err, printable(text)}
				}
			}
			return errCut
		}
		info, ok := parseInfo(line)
		if !ok || !strings.HasPrefix(info.Name, prefix) || info.Name <= after {
			return fmt.Errorf("%w: line %.80q after %q", errCut, printable(line), after)
		}
		after = info.Name
		if err := fn(info); err != nil {
			return stopped{err}
		}
	}
	return fmt.Errorf("%w: %v", errCut, lines.Err())
}

// stopped is the error of who is told of a listing.
type stopped struct{ error }

func parseInfo(line string) (backend.Info, bool) {
	words := strings.Split(line, " ")
	if len(words) != 3 || backend.CheckName(words[0]) != nil {
		return backend.Info{}, false
	}
	size, err1 := strconv.ParseInt(words[1], 10, 64)
	nano, err2 := strconv.ParseInt(words[2], 10, 64)
	if err1 != nil || err2 != nil || size < 0 {
		return backend.Info{}, false
	}
	return backend.Info{Name: words[0], Size: size, ModTime: time.Unix(0, nano)}, true
}
