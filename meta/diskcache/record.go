package diskcache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	recordVersion = 1
	maxRecord     = 64 << 10 // bytes; what is larger is not a record
)

// record says that a file is whole and safely on disk, and what it can be
// reused for.
type record struct {
	Version int       `json:"v"`
	Size    int64     `json:"size"`          // of the file, in bytes
	Key     string    `json:"key,omitempty"` // in hexadecimal; none if it cannot be reused
	Stored  time.Time `json:"stored"`
	Head    Head      `json:"head,omitzero"`
}

// Head is what is remembered of the response that a file came with, to decide
// about its reuse (RFC 9111).
type Head struct {
	Requested time.Time   `json:"q"` // when it was asked for
	Received  time.Time   `json:"r"` // when its head came
	Header    http.Header `json:"h,omitempty"`

	// Copy is the ID of the copy in a shared storage that the file equals.
	Copy string `json:"c,omitempty"`

	// Once says that the file is only for calls that waited for it.
	Once bool `json:"once,omitempty"`
}

// parseRecord reads a record. Any doubt about it is an error.
func parseRecord(data []byte) (*record, error) {
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, err
	}
	if rec.Version != recordVersion || rec.Size < 0 || rec.Key != "" && len(rec.Key) != len(Key{}.String()) {
		return nil, errors.New("not a record of this version")
	}
	return &rec, nil
}

func readRecord(path string) (*record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxRecord {
		return nil, fmt.Errorf("%s is too large for a record", path)
	}
	return parseRecord(data)
}

// readAttached reads the early record of a file that has it as an attribute.
func readAttached(path string) (*record, error) {
	data, err := attributeOf(path)
	if err != nil {
		return nil, err
	}
	return parseRecord(data)
}

// writeRecord writes a record, all of it or none: what a power cut leaves of
// it does not parse.
func (s *session) writeRecord(path string, rec *record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	f, err := s.create(".record")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = rename(f.Name(), path)
		}
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
