using System.Text;
using System.Text.RegularExpressions;

namespace HybridArchitectures.Reports.Tests.Packages;

/// <summary>
/// Builds and runs the program of a user. Its first statement calls TorchSharp. Then it trains one step of a hybrid, and runs every example of the
/// READMEs, the pages and the XML docs.
/// </summary>
static partial class ScratchProgram
{
    public const string LastWords = "all examples ran";

    public const string Main = """
        using System;
        using System.Linq;
        using HybridArchitectures.Design;
        using HybridArchitectures.Kernels.Runtime;
        using HybridArchitectures.Models;
        using TorchSharp;

        torch.manual_seed(0);
        using (torch.NewDisposeScope())
        {
            var design = HybridDesign.Create(width: 64, vocabularySize: 256).WithAttention(heads: 4, keyValueHeads: 2)
                .WithMamba2(stateSize: 16, headSize: 16)
                .WithFeedForward(FeedForwardSpec.SwiGlu(176)).Depth(4).Ratio(attention: 1, ssm: 3).Build();
            using var model = design.CreateModel();
            var tokens = torch.randint(256, [2, 65], torch.ScalarType.Int64);
            var logits = model.Forward(tokens);
            if (!logits.shape.SequenceEqual([2L, 65L, 256L]) || !logits.isfinite().all().item<bool>())
                throw new Exception("the forward pass went wrong");
            var loss = model.Loss(tokens[torch.TensorIndex.Colon, torch.TensorIndex.Slice(0, 64)],
                tokens[torch.TensorIndex.Colon, torch.TensorIndex.Slice(1, 65)]);
            Autograd.Backward(loss.Total);
            var without = model.Parameters.Where(parameter => parameter.Value.grad is not { } grad || !grad.isfinite().all().item<bool>())
                .Select(parameter => parameter.Name).ToArray();
            if (without.Length > 0) throw new Exception("no gradient for " + string.Join(", ", without));
            Console.WriteLine($"{design.Pattern}: {model.Parameters.Count} gradients, loss {loss.Total.item<float>()}");
        }
        """;

    /// <summary>Marks a page that is one program: its blocks are the parts, in order. On other pages each block is a program.</summary>
    const string OneProgram = "<!-- one program -->";

    /// <summary>Returns the program's files by name.</summary>
    /// <param name="pages">Markdown texts by name.</param>
    /// <param name="examples">The <c>example</c> elements of XML docs by name of the member; they need no using directives.</param>
    /// <param name="namespaces">The namespaces that examples may use.</param>
    public static IReadOnlyDictionary<string, string> Files(
        IReadOnlyDictionary<string, string> pages, IReadOnlyDictionary<string, string> examples, IEnumerable<string> namespaces)
    {
        var files = new Dictionary<string, string>();
        var main = new StringBuilder(Main).Append('\n');
        foreach (var (page, text) in pages)
        {
            var blocks = CSharp().Matches(text).Select(match => match.Groups[1].Value).ToArray();
            if (text.Contains(OneProgram)) blocks = [string.Concat(blocks)];
            for (int i = 0; i < blocks.Length; i++) Add($"{NotLetters().Replace(page, "")}{i}", blocks[i]);
        }
        var usings = string.Concat(namespaces.Select(name => $"using {name};\n")) + "using static TorchSharp.torch;\n";
        foreach (var (member, code) in examples) Add($"Example{NotLetters().Replace(member, "")}", usings + code);
        main.Append($"Console.WriteLine(\"{LastWords}\");\n");
        files["Program.cs"] = main.ToString();
        return files;

        void Add(string name, string code)
        {
            files[$"{name}.cs"] = Wrap(name, code);
            main.Append($"Console.WriteLine(\"{name}\");\nawait {name}.Run();\n");
        }
    }

    static string Wrap(string name, string code)
    {
        var lines = code.Split('\n');
        var usings = lines.Where(line => line.StartsWith("using ", StringComparison.Ordinal) && !line.Contains('=')).ToArray();
        // as in a program of top-level statements: statements first, then types
        var body = lines.Where(line => !usings.Contains(line)).TakeWhile(line => !TypeDeclaration().IsMatch(line)).ToArray();
        var types = lines.SkipWhile(line => !TypeDeclaration().IsMatch(line));
        return $$"""
            {{string.Join('\n', usings)}}
            static class {{name}}
            {
                public static async Task Run()
                {
                    {{string.Join('\n', body)}}
                    await Task.CompletedTask;
                }

                {{string.Join('\n', types)}}
            }
            """;
    }

    /// <summary>
    /// Returns the one example of a page that is a program in a file. Its block is marked <c>cs</c>, because directives such as <c>#:package</c> are
    /// not C# of a project.
    /// </summary>
    public static string FileBased(string page) => FileProgram().Matches(page).Single().Groups[1].Value;

    [GeneratedRegex("^```cs\n(.*?)^```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex FileProgram();

    [GeneratedRegex("^```csharp\n(.*?)^```", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex CSharp();

    [GeneratedRegex("^(public |sealed |abstract |static |partial )*(class|record|struct|interface|enum) ")]
    private static partial Regex TypeDeclaration();

    [GeneratedRegex("[^A-Za-z]")]
    private static partial Regex NotLetters();
}
