package meta

import (
	"fmt"
	"strings"
)

// Error is a failure of a call that its caller may read: nothing in Message or
// Wording is secret.
type Error struct {
	Retcode int

	// Message is in English, Wording is the same in Chinese.
	Message, Wording string
}

func (e *Error) Error() string { return e.Message }

var (
	errInternal = &Error{RetcodeBadRequest, "internal error; the server's log has the details", "内部错误，详情见服务器日志"}
	errBusy     = &Error{RetcodeBadRequest, "too many actions are running in the background; try again later", "后台任务过多，请稍后再试"}

	// ErrUnauthorized is the failure of a call without a token where one is needed.
	ErrUnauthorized = &Error{RetcodeUnauthorized, "an access token is required", "需要 access token"}
	// ErrForbidden is the failure of a call with a wrong token.
	ErrForbidden = &Error{RetcodeForbidden, "the access token is wrong", "access token 不正确"}
)

// BadRequest is the failure of a call that cannot be understood or carried
// out, with what to change about it in English and in Chinese.
func BadRequest(message, wording string) *Error {
	return &Error{RetcodeBadRequest, message, wording}
}

// UnknownAction is the failure of a call of an action that does not exist.
func UnknownAction(name string) *Error {
	if name == "" {
		return &Error{RetcodeNotFound, "no action is named", "未指定 API"}
	}
	const most = 64 // a caller may send a name as long as a URL may be
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return &Error{
		RetcodeNotFound,
		fmt.Sprintf("no such action: %q", name),
		fmt.Sprintf("API 不存在: %q", name),
	}
}
