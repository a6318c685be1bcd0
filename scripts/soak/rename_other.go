//go:build !linux

package main

import (
	"errors"
	"fmt"
)

var errOnlyLinux = fmt.Errorf("-beside: %w on this system: it needs renames that replace nothing", errors.ErrUnsupported)

func moveTo(from, to string) error { return errOnlyLinux }

func exchange(a, b string) error { return errOnlyLinux }
