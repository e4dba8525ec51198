using HybridArchitectures.Tokenization;

namespace HybridArchitectures.Tests.Tokenization;

public class ComposedTextTests
{
    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("e\u0301", "\u00E9")]
    [InlineData("a\u0323\u0302", "\u1EAD")]               // two marks of different classes, joined in turn
    [InlineData("a\u0302\u0323", "\u1EAD")]               // and in the other order
    [InlineData("q\u0307\u0323", "q\u0323\u0307")]       // marks without a joined character are put in order
    [InlineData("\u0344", "\u0308\u0301")]               // parts that do not join again
    [InlineData("\u212B\uF900", "\u00C5\u8C48")]         // characters that are others
    [InlineData("\u1112\u1161\u11AB\u1100\u1173\u11AF", "\uD55C\uAE00")]
    [InlineData("\uD55C\u11A7", "\uD55C\u11A7")]         // U+11A7 is no tail
    [InlineData("\u0915\u093C", "\u0915\u093C")]         // excluded from joining
    [InlineData("a\u0315\u0300\u05AE\u0062", "\u00E0\u05AE\u0315b")]
    [InlineData("\uD834\uDD5E", "\uD834\uDD57\uD834\uDD65")]
    public void Texts_come_to_their_composed_form(string text, string composed)
    {
        Assert.Equal(composed, ComposedText.From(text));
        Assert.Equal(composed, ComposedText.From(composed));
    }
}
