//go:build !linux

package service

import "context"

// networkChanges can't tell.
func networkChanges(context.Context) <-chan struct{} { return nil }
