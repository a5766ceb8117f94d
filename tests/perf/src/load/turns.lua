-- Makes each request anew, from a number below COUNT. They follow each other far apart, and all have their turn before one
-- comes again: STEP has no divisor in common with COUNT.
local number = FIRST

function request()
    number = (number + STEP) % COUNT
    return string.format(REQUEST, number, number, number)
end
