package client

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxToken is the length in bytes beyond which nothing is a token.
const maxToken = 256

// isToken says whether a text could be a token. What could not is not sent: the
// answer is known, and it would have to be escaped.
func isToken[T string | []byte](t T) bool {
	for i := range len(t) {
		switch c := t[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return 0 < len(t) && len(t) <= maxToken
}

// appendMeta appends metadata, once it is known to be an object: what is no JSON could
// say something else in the middle of a batch.
func appendMeta(dst []byte, meta json.RawMessage) ([]byte, error) {
	meta = bytes.TrimSpace(meta)
	if !isObject(meta) || !json.Valid(meta) {
		return nil, invalid("metadata must be a JSON object")
	}
	return append(dst, meta...), nil
}

// appendText appends a text as a JSON string. One that is no UTF-8 would become
// another.
func appendText(dst []byte, name, text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return nil, invalid("%s must be UTF-8", name)
	}
	quoted, err := json.Marshal(text)
	return append(dst, quoted...), err
}

func appendToken(dst []byte, token string) []byte {
	dst = append(dst, `{"token":"`...)
	dst = append(dst, token...)
	return append(dst, '"')
}

func appendCreate(dst []byte, s NewSession) (_ []byte, err error) {
	if dst, err = appendMeta(append(dst, `{"meta":`...), s.Meta); err != nil {
		return nil, err
	}
	if s.Subject != "" {
		if dst, err = appendText(append(dst, `,"subject":`...), "subject", s.Subject); err != nil {
			return nil, err
		}
	}
	if s.Lifetime != 0 {
		dst = append(dst, `,"lifetime":"`...)
		dst = strconv.AppendInt(dst, int64(s.Lifetime/time.Nanosecond), 10)
		dst = append(dst, `ns"`...)
	}
	return append(dst, '}'), nil
}

func appendExchange(dst []byte, token string, patch Patch) (_ []byte, err error) {
	dst = appendToken(dst, token)
	if patch.Meta != nil {
		if dst, err = appendMeta(append(dst, `,"meta":`...), patch.Meta); err != nil {
			return nil, err
		}
	}
	if len(patch.Unset) > 0 {
		dst = append(dst, `,"unset":[`...)
		for i, name := range patch.Unset {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendText(dst, "a name to unset", name); err != nil {
				return nil, err
			}
		}
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil
}
