using System.Text.Json;

namespace HybridArchitectures.Training;

/// <summary>The version of a saved JSON document. It is compared before the document is read, so that a file of another version is refused by its version
/// and not by a key that this version does not know.</summary>
static class FormatVersion
{
    /// <exception cref="JsonException">The document has another version, or none.</exception>
    public static void Require(string json, int expected)
    {
        using var document = JsonDocument.Parse(json);
        var root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("version", out var version)) return;   // refused by the missing key
        if (version.ValueKind != JsonValueKind.Number || !version.TryGetInt32(out int found) || found != expected)
            throw new JsonException($"version is {version.GetRawText()}; expected {expected}");
    }
}
