namespace HybridArchitectures.Chat.Jinja;

/// <summary>Represents a loop and its variable <c>loop</c>.</summary>
/// <param name="items">The items.</param>
/// <param name="outer">The variable <c>loop</c> outside, which says how deep this loop is.</param>
sealed class JinjaLoop(List<object?> items, object? outer)
{
    readonly long depth = outer is Dictionary<string, object?> loop && loop.GetValueOrDefault("depth") is long above ? above + 1 : 1;
    List<object?>? compared;

    /// <summary>Returns the variable <c>loop</c> of an iteration.</summary>
    public Dictionary<string, object?> At(int index) => new(StringComparer.Ordinal)
    {
        ["index"] = index + 1L,
        ["index0"] = (long)index,
        ["revindex"] = (long)(items.Count - index),
        ["revindex0"] = items.Count - index - 1L,
        ["first"] = index == 0,
        ["last"] = index == items.Count - 1,
        ["length"] = (long)items.Count,
        ["depth"] = depth,
        ["depth0"] = depth - 1,
        ["previtem"] = index > 0 ? items[index - 1] : JinjaValue.Undefined,
        ["nextitem"] = index + 1 < items.Count ? items[index + 1] : JinjaValue.Undefined,
        ["cycle"] = (JinjaFunction)((values, _) => values[index % values.Count]),
        ["changed"] = (JinjaFunction)((values, _) => Changed([.. values])),
    };

    // whether values differ from those of the previous call
    bool Changed(List<object?> values)
    {
        bool isSame = compared is not null && JinjaValue.AreEqual(compared, values);
        compared = values;
        return !isSame;
    }
}
