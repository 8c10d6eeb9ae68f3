package fetch

import (
	"encoding/base64"
	"io"
	"strings"

	"github.com/onebot-caddy/onebot-meta/meta/diskcache"
)

// Keep stores content that the caller sent as base64, in the standard or the
// URL alphabet, padded or not. Its errors are of type [*Error].
func (c *Client) Keep(content, name string) (Result, error) {
	content = strings.TrimRight(strings.TrimPrefix(content, "base64://"), "=\r\n")
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(content, "-_") {
		encoding = base64.RawURLEncoding
	}
	file, err := c.cache.Create()
	if err != nil {
		return Result{}, failedWrite(err)
	}
	defer file.Abort() // what is left is swept up later

	src := decoded{base64.NewDecoder(encoding, strings.NewReader(content))}
	if err := c.copy(file, src, -1); err != nil {
		return Result{}, err
	}
	ext := fileExtension(name)
	if ext == "" {
		ext = contentExtension(file)
	}
	entry, err := file.Commit(diskcache.Key{}, ext, diskcache.Head{})
	if err != nil {
		return Result{}, failedWrite(err)
	}
	return result(entry, Sent), nil
}

// decoded reads content that is decoded on the way.
type decoded struct{ io.Reader }

func (d decoded) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = &Error{Kind: BadContent, Err: err}
	}
	return n, err
}
