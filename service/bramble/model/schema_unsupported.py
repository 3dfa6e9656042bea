"""Keywords of JSON Schema that are refused, and what a client can do instead."""

_CHECK = "leave it out and check the reply yourself"
_FORMS = "list each allowed form in anyOf instead"
UNSUPPORTED = {  # keyword → what to do
    "not": f"say what is allowed instead, or {_CHECK}",
    **dict.fromkeys(("if", "then", "else"), _FORMS),
    **dict.fromkeys(("dependentRequired", "dependentSchemas", "dependencies"), _FORMS),
    "propertyNames": "list the names in properties, or use patternProperties, "
    "with additionalProperties: false",
    **dict.fromkeys(("contains", "minContains", "maxContains"), f"use prefixItems, or {_CHECK}"),
    "uniqueItems": _CHECK,
    "unevaluatedProperties": "use additionalProperties instead",
    "unevaluatedItems": "use items instead",
    **dict.fromkeys(("$dynamicRef", "$recursiveRef"), "use $ref instead"),
    "divisibleBy": "use multipleOf instead",
    "disallow": f"say what is allowed instead, or {_CHECK}",
    "extends": "use allOf instead",
}
