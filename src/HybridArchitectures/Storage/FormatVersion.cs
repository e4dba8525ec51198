using System.Text.Json;

namespace HybridArchitectures.Storage;

/// <summary>
/// Checks the version of a saved JSON document before the document is read. A file of another version is then refused because of its version, and not
/// because of an unknown key.
/// </summary>
static class FormatVersion
{
    /// <summary>Checks the version of a document.</summary>
    /// <exception cref="JsonException">The document has another version, or none.</exception>
    public static void Require(string json, int expected)
    {
        using var document = JsonDocument.Parse(json);
        var root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("version", out var version)) return;   // the missing key is refused later
        if (version.ValueKind != JsonValueKind.Number || !version.TryGetInt32(out int found) || found != expected)
            throw new JsonException($"version is {version.GetRawText()}; expected {expected}");
    }
}
