using System.Text;
using CsCheck;
using HybridArchitectures.Chat;
using HybridArchitectures.Fuzz;
using HybridArchitectures.Tests.Checkpoints;
using HybridArchitectures.Tests.Tokenization;
using HybridArchitectures.Tokenization;
using Microsoft.Extensions.AI;

namespace HybridArchitectures.Tests.Fuzz;

/// <summary>Damages the small files next to a tokenizer. The vocabulary stays whole, so that every mutation reaches its reader.</summary>
public class TokenizerFolderFuzzTests
{
    const string Config = """
        { "bos_token": "<|im_start|>", "eos_token": { "__type": "AddedToken", "content": "<|im_end|>", "lstrip": false }, "pad_token": null,
          "chat_template": [ { "name": "default", "template": "{% for m in messages %}{{ bos_token + m.content + eos_token }}{% endfor %}" },
            { "name": "tool_use", "template": "{{ messages[0].role }}" } ], "model_max_length": 4096, "tokenizer_class": "PreTrainedTokenizerFast" }
        """;

    const string Generation = """{ "bos_token_id": 256, "eos_token_id": [257, 258], "temperature": 0.6, "top_p": 0.9 }""";

    const string Model = """{ "model_type": "llama", "text_config": { "eos_token_id": [257, 256] }, "vocab_size": 300 }""";

    static readonly ChatMessage[] conversation = [new(ChatRole.User, "Hi")];

    [Theory]
    [InlineData("tokenizer_config.json", Config)]
    [InlineData("chat_template.json", Config)]
    [InlineData("generation_config.json", Generation)]
    [InlineData("config.json", Model)]
    public void A_mutated_file_next_to_a_tokenizer_is_read_or_refused_with_the_folder(string name, string content)
    {
        using var folder = new TemporaryFolder();
        string source = Path.Combine(TokenizerCases.Folder, "..", "tokenizers", "granite", "tokenizer.json");
        File.Copy(source, folder["tokenizer.json"]);
        string path = folder[name];
        // the special tokens that the template of chat_template.json uses
        File.WriteAllText(folder["tokenizer_config.json"], Config);
        var bytes = new ByteTokenizer();
        bool isTemplate = name is "tokenizer_config.json" or "chat_template.json";
        int read = 0, refused = 0;
        Mutation.Many(Encoding.UTF8.GetBytes(content)).Each(Effort.Choose(100, 5_000), mutated =>
        {
            File.WriteAllBytes(path, mutated);
            try
            {
                var tokenizer = Tokenizer.Load(folder.Path);
                foreach (int id in tokenizer.StopTokens) _ = tokenizer.Decode([id]);
                if (isTemplate) ChatTemplate.FromFolder(folder.Path, bytes).Encode(conversation);
                read++;
            }
            catch (InvalidDataException refusal)
            {
                // a template that fails in use states its reason, and the file is known to the caller
                if (!refusal.Message.Contains("template", StringComparison.OrdinalIgnoreCase)) Assert.Contains(folder.Path, refusal.Message);
                refused++;
            }
            catch (FileNotFoundException missing) when (isTemplate)
            {
                Assert.Contains("contains no chat template", missing.Message);
                refused++;
            }
        });
        Assert.True(read > refused / 60 && refused > read / 60, $"{read} read, {refused} refused: the mutations no longer try both");
    }
}
