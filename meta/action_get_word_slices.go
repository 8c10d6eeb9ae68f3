package meta

import "context"

// wordSlices is the data of get_word_slices.
type wordSlices struct {
	NotSupported bool   `json:"not_supported"`
	Message      string `json:"message"`
}

var errNoWordSlices = &Error{
	RetcodeNotFound,
	".get_word_slices: not supported (the word slicing service of Tencent is not available)",
	".get_word_slices: 不支持中文分词（腾讯分词服务不可用）",
}

// getWordSlices always fails, with data that says so in the way go-cqhttp's
// successors do.
func (d *Dispatcher) getWordSlices(context.Context, *Call) (any, error) {
	return wordSlices{NotSupported: true, Message: errNoWordSlices.Message}, errNoWordSlices
}
