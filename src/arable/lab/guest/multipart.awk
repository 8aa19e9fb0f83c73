# Takes a MIME message apart: each part's body goes to `folder`/part.NN, in order, so that `seed` can read each as if
# it had come alone. A part in base64 ends in .b64.

BEGIN { count = 0; inside = 0 }

{ sub(/\r$/, "") }

border == "" {
    if (match($0, /boundary="[^"]+"/))
        border = "--" substr($0, RSTART + 10, RLENGTH - 11)
    else if (match($0, /boundary=[^ ;]+/))
        border = "--" substr($0, RSTART + 9, RLENGTH - 9)
    next
}

$0 == border || $0 == border "--" {
    if (inside == 2)
        close(file)
    inside = $0 == border
    file = sprintf("%s/part.%02d", folder, ++count)
    next
}

inside == 1 && tolower($0) ~ /^content-transfer-encoding: *base64/ { file = file ".b64" }
inside == 1 { if ($0 == "") inside = 2; next }
inside == 2 { print > file }
