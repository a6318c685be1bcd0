//go:build !linux

package watch

import (
	"context"
	"errors"
)

var errNoNotice = errors.New("not on this system")

func openFanotify(*Watch) (source, error) { return nil, errNoNotice }

func openInotify(context.Context, *Watch) (source, error) { return nil, errNoNotice }
