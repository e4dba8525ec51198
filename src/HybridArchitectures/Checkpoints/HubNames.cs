namespace HybridArchitectures.Checkpoints;

/// <summary>Recognizes names on the Hugging Face Hub that are passed as local folders.</summary>
static class HubNames
{
    /// <summary>
    /// Returns the message for a folder that does not exist. If its name has the form <c>owner/name</c>, the message explains how to download it.
    /// </summary>
    public static string NoFolder(string folder)
    {
        string message = $"folder is '{folder}', which does not exist; expected a local folder.";
        if (!IsName(folder)) return message;
        string target = folder[(folder.IndexOf('/') + 1)..];
        return $"{message} '{folder}' reads like a name on the Hugging Face Hub, and nothing is downloaded here. "
            + $"Get the folder with 'hf download {folder} --local-dir {target}' (pip install huggingface_hub), then give '{target}'.";
    }

    /// <summary>Returns the message for a path that is neither a file nor a folder.</summary>
    public static string NoFile(string path) => IsName(path) ? NoFolder(path) : $"no file '{path}'";

    static bool IsPart(string part) =>
        part.Length is > 0 and <= 96 && char.IsAsciiLetterOrDigit(part[0]) && part.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.');

    /// <summary>Returns whether a text has the form <c>owner/name</c> of the hub.</summary>
    public static bool IsName(string text)
    {
        string[] parts = text.Split('/');
        return parts.Length == 2 && parts.All(IsPart);
    }
}
