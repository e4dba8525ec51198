using System.Text.Json;

namespace HybridArchitectures.Design;

/// <summary>Compares designs by their JSON, so that every saved property is compared.</summary>
static class DesignDiff
{
    const string Absent = "absent";

    public static EquatableList<DesignDifference> Between(HybridDesign left, HybridDesign right)
    {
        var found = new List<(int Block, string Path, string Left, string Right)>();
        using var a = JsonDocument.Parse(DesignJson.Write(left));
        using var b = JsonDocument.Parse(DesignJson.Write(right));
        foreach (string key in Keys(a.RootElement, b.RootElement).Where(key => key != "blocks"))
            Compare(0, key, Get(a.RootElement, key), Get(b.RootElement, key), found);
        for (int i = 0; i < Math.Max(left.Depth, right.Depth); i++)
        {
            if (i < left.Depth && i < right.Depth)
                Compare(i + 1, "", a.RootElement.GetProperty("blocks")[i], b.RootElement.GetProperty("blocks")[i], found);
            else
                found.Add((i + 1, "block", i < left.Depth ? left.Blocks[i].Symbol : Absent, i < right.Depth ? right.Blocks[i].Symbol : Absent));
        }
        return found.GroupBy(one => (one.Path, one.Left, one.Right))
            .Select(group => new DesignDifference(
                group.Where(one => one.Block > 0).Select(one => one.Block).ToEquatableList(), group.Key.Path, group.Key.Left, group.Key.Right))
            .ToEquatableList();
    }

    static void Compare(int block, string path, JsonElement? left, JsonElement? right, List<(int, string, string, string)> found)
    {
        if (left is { ValueKind: JsonValueKind.Object } a && right is { ValueKind: JsonValueKind.Object } b && Kind(a) == Kind(b))
            foreach (string key in Keys(a, b)) Compare(block, path.Length == 0 ? key : $"{path}.{key}", Get(a, key), Get(b, key), found);
        else if (left is { ValueKind: JsonValueKind.Array } first && right is { ValueKind: JsonValueKind.Array } second
            && first.EnumerateArray().Concat(second.EnumerateArray()).Any(item => item.ValueKind == JsonValueKind.Object))
        {
            for (int i = 0; i < Math.Max(first.GetArrayLength(), second.GetArrayLength()); i++)
                Compare(block, $"{path}[{i}]", i < first.GetArrayLength() ? first[i] : null, i < second.GetArrayLength() ? second[i] : null, found);
        }
        else if (Show(left, whole: true) != Show(right, whole: true))
            found.Add((block, path, Show(left), Show(right)));
    }

    static string? Kind(JsonElement element) => element.TryGetProperty(DesignJson.Discriminator, out var kind) ? kind.GetString() : null;

    static JsonElement? Get(JsonElement element, string key) => element.TryGetProperty(key, out var value) ? value : null;

    static IEnumerable<string> Keys(JsonElement left, JsonElement right) =>
        left.EnumerateObject().Select(property => property.Name).Union(right.EnumerateObject().Select(property => property.Name));

    static string Show(JsonElement? element, bool whole = false) => element switch
    {
        null => Absent,
        { ValueKind: JsonValueKind.Object } value when !whole && Kind(value) is { } kind => kind,
        { ValueKind: JsonValueKind.Null } => "none",
        { ValueKind: JsonValueKind.String } value when !whole => value.GetString()!,
        { } value => value.GetRawText(),
    };
}
