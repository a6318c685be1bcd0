package s3

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"ensync/store/backend"
)

// page is one answer of a listing.
type page struct {
	XMLName      xml.Name `xml:"ListBucketResult"`
	IsTruncated  bool
	EncodingType string
	Contents     []struct {
		Key          string
		Size         int64
		LastModified time.Time
	}
}

// maxForeign bounds how many keys of somebody else's a listing passes over: one that consists of them has no end.
const maxForeign = 100_000

// maxKey is the length of S3's longest key, in bytes.
const maxKey = 1024

// List implements backend.Backend. Keys that no object of a store can have are somebody else's, and not shown. Each
// page is asked for by the last key of the one before, so a lost answer costs that page only.
func (c *Client) List(ctx context.Context, prefix string, fn func(backend.Info) error) error {
	if err := backend.CheckPrefix(prefix); err != nil {
		return err
	}
	foreign := 0
	for after, more := "", true; more; {
		var found []backend.Info
		var err error
		if found, after, more, err = c.page(ctx, prefix, after); err != nil {
			return err
		}
		for _, i := range found {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("list %s: %w", prefix, err)
			}
			if backend.CheckName(i.Name) != nil {
				if foreign++; foreign > maxForeign {
					return fmt.Errorf("list %s: %w: more than %d names there are no objects of a store; give it a prefix of its own",
						prefix, backend.ErrUnavailable, maxForeign)
				}
				continue
			}
			if err := fn(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// page asks for the names after one; last is where the next page begins.
func (c *Client) page(ctx context.Context, prefix, after string) (found []backend.Info, last string, more bool, err error) {
	r := request{method: http.MethodGet, limit: maxPage, params: url.Values{"list-type": {"2"}, "encoding-type": {"url"},
		"max-keys": {strconv.Itoa(pageKeys)}, "prefix": {c.keyPrefix + prefix}}}
	if after != "" {
		r.params.Set("start-after", c.keyPrefix+after)
	}
	err = c.do(ctx, "list", c.keyPrefix+prefix, r, func(a answer, err error, _ bool) error {
		if err != nil {
			return err
		}
		found, more, err = parsePage(a.data, c.keyPrefix, prefix, after)
		return err
	})
	last = after
	if len(found) > 0 {
		last = found[len(found)-1].Name
	}
	return found, last, more, err
}

// parsePage reads a page, and refuses one that is not what was asked for: names below keyPrefix that start with prefix
// and come after the last one, ascending.
func parsePage(body []byte, keyPrefix, prefix, after string) (found []backend.Info, more bool, err error) {
	var p page
	if err := xml.Unmarshal(body, &p); err != nil {
		return nil, false, fmt.Errorf("%w: the listing is no listing: %.100q", errAgain, printable(err.Error()))
	}
	first := after
	for _, e := range p.Contents {
		key := e.Key
		if p.EncodingType == "url" {
			if key, err = url.QueryUnescape(key); err != nil {
				return nil, false, fmt.Errorf("%w: a key in the listing is badly escaped", backend.ErrUnavailable)
			}
		}
		name, ok := strings.CutPrefix(key, keyPrefix)
		if !ok || len(key) > maxKey || !strings.HasPrefix(name, prefix) || name <= after && (name != "" || after != "") || e.Size < 0 {
			return nil, false, fmt.Errorf("%w: the listing after %.80q contains %.80q, which does not belong there", backend.ErrUnavailable,
				after, printable(key))
		}
		after = name
		found = append(found, backend.Info{Name: name, Size: e.Size, ModTime: e.LastModified})
	}
	if p.IsTruncated && after == first {
		return nil, false, fmt.Errorf("%w: a page of the listing is empty, and not the last one", backend.ErrUnavailable)
	}
	return found, p.IsTruncated, nil
}
