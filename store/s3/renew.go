package s3

import (
	"bytes"
	"context"
	"fmt"

	"ensync/store/backend"
)

// Renew implements backend.Renewer: the object is written again with what it holds. On the condition that it is still
// what was read, so that one that was deleted stays so.
func (c *Client) Renew(ctx context.Context, name string, data []byte) error {
	is, version, err := c.Load(ctx, name)
	if err != nil {
		return err
	}
	if !bytes.Equal(is, data) {
		return fmt.Errorf("renew %s: %w", name, backend.ErrChanged)
	}
	_, err = c.Swap(ctx, name, version, data)
	return err
}
