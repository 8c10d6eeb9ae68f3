package fetch

import (
	"cmp"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/gabriel-vasile/mimetype"
)

// maxExtension is how long an extension may be, in bytes.
const maxExtension = 10

// extension tells what type of file a download is: by the name that the caller
// wishes, the URL that was asked for and the one that answered, and what the
// origin says of it. It is lower-case letters and digits only, whatever a
// caller or an origin sends, and "" where nothing tells it but the content.
func extension(req Request, answered *url.URL, header http.Header) string {
	return cmp.Or(
		wishedExtension(req),
		fileExtension(answered.Path),
		fileExtension(dispositionName(header.Get("Content-Disposition"))),
		typeExtension(mimetype.Lookup(header.Get("Content-Type"))),
	)
}

// wishedExtension is what the request itself says of the extension.
func wishedExtension(req Request) string {
	return cmp.Or(fileExtension(req.Name), fileExtension(req.URL.Path))
}

// contentExtension tells the type of a file by its first bytes alone.
func contentExtension(content io.ReaderAt) string {
	const enough = 3072 // what mimetype looks at
	detected, err := mimetype.DetectReader(io.NewSectionReader(content, 0, enough))
	if ext := typeExtension(detected); err == nil && ext != "" {
		return ext
	}
	return "bin"
}

// fileExtension returns the extension of a file's name, and "" if it has none
// that is letters and digits.
func fileExtension(name string) string {
	ext := strings.TrimPrefix(path.Ext(name), ".")
	if len(ext) > maxExtension {
		return ""
	}
	for i := range len(ext) {
		switch c := ext[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		default:
			return ""
		}
	}
	return strings.ToLower(ext)
}

func dispositionName(header string) string {
	_, params, err := mime.ParseMediaType(header)
	if err != nil {
		return ""
	}
	return params["filename"]
}

func typeExtension(t *mimetype.MIME) string {
	if t == nil {
		return ""
	}
	return fileExtension(t.Extension())
}
