namespace HybridArchitectures.Chat.Jinja;

/// <summary>Represents the variable <c>loop</c> inside a loop.</summary>
static class JinjaLoop
{
    public static Dictionary<string, object?> At(List<object?> items, int index) => new(StringComparer.Ordinal)
    {
        ["index"] = index + 1L,
        ["index0"] = (long)index,
        ["revindex"] = (long)(items.Count - index),
        ["revindex0"] = items.Count - index - 1L,
        ["first"] = index == 0,
        ["last"] = index == items.Count - 1,
        ["length"] = (long)items.Count,
        ["previtem"] = index > 0 ? items[index - 1] : JinjaValue.Undefined,
        ["nextitem"] = index + 1 < items.Count ? items[index + 1] : JinjaValue.Undefined,
        ["cycle"] = (JinjaFunction)((values, _) => values[index % values.Count]),
    };
}
