package client

// phrases are what pages say, in one language.
type phrases struct {
	lang string

	confirm, confirmText, confirmButton string // of an address
	confirmed, confirmedText            string
	badLink, badLinkText                string

	step, stepText                string // of a registration that asks for nothing more
	terms, termsText, termsButton string
	token, tokenText, badToken    string
	email, emailText, badEmail    string
	sent, sentText, sentAgain     string
	unconfirmed                   string
	goOn, passed, passedText      string
}

var english = phrases{
	lang:    "en",
	confirm: "Confirm your address", confirmText: "Press the button to confirm that this address is yours.", confirmButton: "Confirm",
	confirmed: "Confirmed", confirmedText: "You can close this page, and go on in your app.",
	badLink: "This link is not good any more", badLinkText: "Ask for another message in your app.",

	step: "Your new account", stepText: "Press the button to go on.",
	terms: "Terms", termsText: "To make an account you have to accept these documents:", termsButton: "I accept",
	token: "Registration token", tokenText: "To make an account you need a registration token.", badToken: "This token is not valid, or used up.",
	email: "E-mail address", emailText: "A message with a link will be sent to your address.", badEmail: "This is no e-mail address.",
	sent: "Look into your mail", sentText: "Open the link in the message. Then come back to this page, and go on.", sentAgain: "Send another message",
	unconfirmed: "The address has not been confirmed: open the link in the message first.",
	goOn:        "Go on", passed: "Done", passedText: "You can close this page, and go on in your app.",
}

var korean = phrases{
	lang:    "ko",
	confirm: "주소 확인", confirmText: "이 주소가 본인의 것이 맞으면 버튼을 누르세요.", confirmButton: "확인",
	confirmed: "확인되었습니다", confirmedText: "이 페이지를 닫고 앱에서 계속하세요.",
	badLink: "더 이상 쓸 수 없는 링크입니다", badLinkText: "앱에서 메일을 다시 요청하세요.",

	step: "새 계정", stepText: "계속하려면 버튼을 누르세요.",
	terms: "약관", termsText: "계정을 만들려면 다음 문서에 동의해야 합니다.", termsButton: "동의합니다",
	token: "가입 토큰", tokenText: "계정을 만들려면 가입 토큰이 필요합니다.", badToken: "유효하지 않거나 이미 사용된 토큰입니다.",
	email: "이메일 주소", emailText: "입력한 주소로 링크가 담긴 메일을 보냅니다.", badEmail: "올바른 이메일 주소가 아닙니다.",
	sent: "메일을 확인하세요", sentText: "메일에 있는 링크를 연 다음 이 페이지로 돌아와 계속하세요.", sentAgain: "메일 다시 보내기",
	unconfirmed: "주소가 아직 확인되지 않았습니다. 먼저 메일에 있는 링크를 여세요.",
	goOn:        "계속", passed: "완료", passedText: "이 페이지를 닫고 앱에서 계속하세요.",
}
