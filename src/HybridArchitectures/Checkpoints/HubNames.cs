namespace HybridArchitectures.Checkpoints;

/// <summary>Names on the Hugging Face Hub that are given where a local folder is expected.</summary>
static class HubNames
{
    /// <summary>What to say where there is no such folder. If it reads like <c>owner/name</c>, how to get a folder of that name.</summary>
    public static string NoFolder(string folder)
    {
        string message = $"folder is '{folder}', which does not exist; expected a local folder.";
        if (!IsName(folder)) return message;
        string target = folder[(folder.IndexOf('/') + 1)..];
        return $"{message} '{folder}' reads like a name on the Hugging Face Hub, and nothing is downloaded here. "
            + $"Get the folder with 'hf download {folder} --local-dir {target}' (pip install huggingface_hub), then give '{target}'.";
    }

    /// <summary>What to say where there is neither such a file nor such a folder.</summary>
    public static string NoFile(string path) => IsName(path) ? NoFolder(path) : $"no file '{path}'";

    static bool IsPart(string part) =>
        part.Length is > 0 and <= 96 && char.IsAsciiLetterOrDigit(part[0]) && part.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.');

    /// <summary>Whether a text has the form <c>owner/name</c> of the hub.</summary>
    public static bool IsName(string text)
    {
        string[] parts = text.Split('/');
        return parts.Length == 2 && parts.All(IsPart);
    }
}
